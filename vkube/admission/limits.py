"""What the LimitRanges and ResourceQuotas of a namespace refuse once its Pods have the pod agent.

https://kubernetes.io/docs/concepts/policy/limit-range/, https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from vkube.admission.quota_scopes import counts
from webhook import quantities
from webhook.layout import CONTAINER

Object = Mapping[str, Any]
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
# A Pod may not leave these open where a quota counts them.
_DEMANDED = ("cpu", "memory")
_FIELDS = {"max": "limits", "min": "requests"}


def agent_of(pod: Object) -> Object | None:
    """The pod agent's container."""
    found = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
    return next((one for one in found if one["name"] == CONTAINER), None)


def beyond_limit_ranges(pod: Object, limit_ranges: Iterable[Object]) -> list[str]:
    """Why a LimitRange refuses the Pod, because of the pod agent or of what its containers are together."""
    agent = agent_of(pod)
    if agent is None:
        return []
    found: list[str] = []
    for one in limit_ranges:
        name = one["metadata"]["name"]
        for limit in one["spec"].get("limits") or []:
            if limit["type"] == "Container":
                found += _beyond(name, limit, f"container {CONTAINER}", lambda *what: _stated(agent, *what))
                found += _ratios(name, limit, agent)
            elif limit["type"] == "Pod":
                found += _beyond(name, limit, "Pod", lambda *what: _of_pod(pod, *what))
    return found


def beyond_quotas(pods: Sequence[Object], quotas: Iterable[Object]) -> list[str]:
    """Which quotas refuse some of `pods` with the pod agent: those of which the pod agents need more than
    there is left, and those that demand what a container does not state."""
    injected = [one for one in pods if agent_of(one) is not None]
    found: list[str] = []
    for quota in quotas:
        counted = [one for one in injected if counts(quota, one)]
        if counted:
            found += (f"ResourceQuota {quota['metadata']['name']}: {why}" for why in _lacking(quota, counted))
    return found


def _lacking(quota: Object, pods: Sequence[Object]) -> Iterator[str]:
    agents = [agent for one in pods if (agent := agent_of(one)) is not None]
    status = quota.get("status") or {}
    for key, hard in (status.get("hard") or quota["spec"].get("hard") or {}).items():
        field, separator, resource = key.rpartition(".")
        if resource not in _RESOURCES or (separator and field not in ("requests", "limits")):
            continue
        field = field or "requests"
        stated = [_stated(one, field, resource) for one in agents]
        needed = sum((one for one in stated if one is not None), Fraction(0))
        left = quantities.parse(hard) - quantities.parse((status.get("used") or {}).get(key, "0"))
        if needed > left:
            yield f"{len(agents)} pod agents need {_shown(needed)} of {key}, and {_shown(left)} is left"
        if resource in _DEMANDED and (silent := sorted(_silent(pods, field, resource))):
            yield f"it demands {key} of every container, and {', '.join(silent)} states none"


def _silent(pods: Sequence[Object], field: str, resource: str) -> set[str]:
    """The containers that state no such amount, in Pods that state none as a whole."""
    specs = [one["spec"] for one in pods if not one["spec"].get("resources")]
    containers = (one for spec in specs for one in [*(spec.get("initContainers") or []), *spec["containers"]])
    return {one["name"] for one in containers if _stated(one, field, resource) is None}


def _beyond(name: str, limit: Object, what: str, amount: Any) -> Iterator[str]:
    for bound, field in _FIELDS.items():
        for resource, value in (limit.get(bound) or {}).items():
            has = amount(field, resource)
            allowed = quantities.parse(str(value))
            if has is None:
                yield f"LimitRange {name}: {what} states no {field}.{resource}, whose {bound} is {value}"
            elif (has > allowed) if bound == "max" else (has < allowed):
                shown = f"{field}.{resource} of {what} is {_shown(has)}"
                yield f"LimitRange {name}: {shown}, and its {bound} {value}"


def _ratios(name: str, limit: Object, agent: Object) -> Iterator[str]:
    for resource, most in (limit.get("maxLimitRequestRatio") or {}).items():
        asked, limited = _stated(agent, "requests", resource), _stated(agent, "limits", resource)
        if asked and limited and limited / asked > quantities.parse(str(most)):
            yield (
                f"LimitRange {name}: the {resource} limit of container {CONTAINER} is "
                f"{float(limited / asked):g} times its request, and may be {most} times"
            )


def _stated(container: Object, field: str, resource: str) -> Fraction | None:
    value = ((container.get("resources") or {}).get(field) or {}).get(resource)
    return None if value is None else quantities.parse(str(value))


def _of_pod(pod: Object, field: str, resource: str) -> Fraction | None:
    """What the Pod takes in all: its containers and sidecars together, or an init container beside the
    sidecars before it. None where one of its containers states nothing."""
    sidecars = most = Fraction(0)
    for one in pod["spec"].get("initContainers") or []:
        amount = _stated(one, field, resource)
        if amount is None:
            return None
        if one.get("restartPolicy") == "Always":
            sidecars += amount
        else:
            most = max(most, sidecars + amount)
    amounts = [_stated(one, field, resource) for one in pod["spec"]["containers"]]
    if None in amounts:
        return None
    return max(most, sidecars + sum((one for one in amounts if one is not None), Fraction(0)))


def _shown(amount: Fraction) -> str:
    """In bytes, or in cores."""
    if amount >= 1024**2 and amount % 1024**2 == 0:
        return f"{amount / 1024**2}Mi"
    return f"{float(amount):g}"
