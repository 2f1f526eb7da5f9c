"""The scopes of a ResourceQuota: which Pods it counts.

https://kubernetes.io/docs/concepts/policy/resource-quotas/#quota-scopes
"""

from __future__ import annotations

from collections.abc import Iterator

from vkube.admission.pod_resources import Object, is_best_effort


def counts(quota: Object, pod: Object) -> bool:
    """Whether the quota counts `pod`: it is in every scope that the quota names."""
    spec = quota["spec"]
    selected = (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    return all(
        _is_in(pod, one["scopeName"], one.get("operator") or "Exists", one.get("values") or [])
        for one in [*({"scopeName": scope} for scope in spec.get("scopes") or []), *selected]
    )


def _is_in(pod: Object, scope: str, operator: str, values: list[str]) -> bool:
    spec = pod["spec"]
    match scope:
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return is_best_effort(pod)
        case "NotBestEffort":
            return not is_best_effort(pod)
        case "PriorityClass":
            return _has_class(spec.get("priorityClassName") or None, operator, values)
        case "CrossNamespacePodAffinity":
            return any(one.get("namespaces") or "namespaceSelector" in one for one in _affinity_terms(spec))
    return False  # what counts no Pods


def _has_class(name: str | None, operator: str, values: list[str]) -> bool:
    if operator in ("Exists", "DoesNotExist"):
        return (name is not None) == (operator == "Exists")
    return (name in values) == (operator == "In")


def _affinity_terms(spec: Object) -> Iterator[Object]:
    for kind in ("podAffinity", "podAntiAffinity"):
        stated = (spec.get("affinity") or {}).get(kind) or {}
        yield from stated.get("requiredDuringSchedulingIgnoredDuringExecution") or []
        for one in stated.get("preferredDuringSchedulingIgnoredDuringExecution") or []:
            yield one["podAffinityTerm"]
