"""Whether a Pod is for Windows, for which there is no pod agent.

The policy vanadium-not-injected (deploy/base) states the same in CEL: a Pod that is skipped here must not be
refused there.
"""

from __future__ import annotations

from webhook.pod import Pod
from webhook.rawjson import JSONObject, object_at, objects_at, string_at

_WINDOWS = "windows"
_OPERATING_SYSTEM = "kubernetes.io/os"
_NODE_LABELS = (_OPERATING_SYSTEM, "beta.kubernetes.io/os")


def windows_field(pod: Pod) -> str | None:
    """The field that states that the Pod is for Windows; None for a Pod that may run on Linux.

    `spec.os` is optional, and many manifests are older than it. `windowsOptions` decides last: Kubernetes
    ignores it on Linux nodes.

    Raises:
        WrongTypeError: a field that decides has the wrong type.
    """
    if pod.operating_system:
        return "os.name" if pod.operating_system == _WINDOWS else None
    if selector := object_at(pod.spec, "nodeSelector", "spec"):
        selected = [string_at(selector, label, "spec.nodeSelector") for label in _NODE_LABELS]
        if any(selected):
            return "nodeSelector" if _WINDOWS in selected else None
    if _needs_a_windows_node(pod):
        return "node affinity"
    contexts = [pod.security_context, *[container.security_context for container in pod.containers]]
    for context in contexts:
        if context.get("windowsOptions") is not None:
            return "windowsOptions"
    return None


def _needs_a_windows_node(pod: Pod) -> bool:
    """Whether each alternative of the required node affinity selects Windows nodes only."""
    where = "spec.affinity.nodeAffinity"
    affinity = object_at(pod.spec, "affinity", "spec")
    if not affinity:
        return False
    nodes = object_at(affinity, "nodeAffinity", "spec.affinity")
    required = object_at(nodes, "requiredDuringSchedulingIgnoredDuringExecution", where)
    terms = objects_at(required, "nodeSelectorTerms", where)
    return bool(terms) and all(
        any(_selects_windows(each) for each in objects_at(term, "matchExpressions", where)) for term in terms
    )


def _selects_windows(expression: JSONObject) -> bool:
    return (
        expression.get("key") == _OPERATING_SYSTEM
        and expression.get("operator") == "In"
        and expression.get("values") == [_WINDOWS]
    )
