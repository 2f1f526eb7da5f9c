"""The quality-of-service class of a Pod.

https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from webhook import quantities
from webhook.pod import Container, Pod
from webhook.rawjson import JSONObject, object_at
from webhook.resources import limit, requested


def is_guaranteed(pod: Pod, containers: Sequence[Container]) -> bool:
    """Whether a Pod of these containers is Guaranteed, and would no longer be with one that requests less
    than its limits. Where it has `spec.resources` of its own, these decide.

    Raises:
        WrongTypeError: a field that decides has the wrong type.
    """
    if pod.resources:
        return all(_is_requested(pod.resources, kind, containers) for kind in ("cpu", "memory"))
    return all(_has_all(container.resources, f"{container.field}.resources") for container in containers)


def _is_requested(of_pod: JSONObject, kind: str, containers: Sequence[Container]) -> bool:
    most = limit(of_pod, kind)
    return most is not None and most > 0 and requested(of_pod, kind, containers) == most


def _has_all(stated: JSONObject | None, where: str) -> bool:
    if not stated:
        return False
    limits = object_at(stated, "limits", where)
    if "cpu" not in limits or "memory" not in limits:
        return False
    requests = object_at(stated, "requests", where)
    return all(_is_same(requests.get(kind), limits.get(kind)) for kind in ("cpu", "memory"))


def _is_same(request: object, limit: object) -> bool:
    """Whether a request, by default the limit, is the whole of a limit."""
    if limit is None:
        return False
    most = _text(limit)
    return _is_whole(most if request is None else _text(request), most)


def _text(amount: object) -> str:
    """A quantity as text; empty for what is none, which could be long, and would be kept."""
    text = str(amount) if isinstance(amount, (str, int, float)) else ""
    return text if len(text) <= quantities.LONGEST else ""


@lru_cache(maxsize=1024)  # as for quantities: two fractions are not compared in less than their parsing takes
def _is_whole(request: str, limit: str) -> bool:
    try:
        most = quantities.parse(limit)
        return most > 0 and quantities.parse(request) == most
    except ValueError:
        return False  # the API server refuses it
