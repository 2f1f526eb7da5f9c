"""What a Pod takes in all, as the API server adds it up.

https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from webhook import quantities
from webhook.resources import together

Object = Mapping[str, Any]
Amounts = dict[str, Fraction]
_OF_PODS = ("cpu", "memory")


def containers(pod: Object) -> Iterator[Any]:
    """All that may have resources; a debug container may not."""
    yield from pod["spec"].get("initContainers") or []
    yield from pod["spec"]["containers"]


def stated(holder: Object, field: str) -> Amounts:
    """The `requests` or `limits` of a container, or of a Pod as a whole, by resource."""
    found = (holder.get("resources") or {}).get(field) or {}
    return {resource: quantities.parse(str(value)) for resource, value in found.items()}


def taken(pod: Object, field: str) -> Amounts:
    """The `requests` or `limits` of a Pod: its containers and sidecars together, or an init container beside
    the sidecars before it. What the Pod states as a whole replaces that; its limits are also its requests,
    where nothing else states these. A resource that nothing states is left out."""
    spec = pod["spec"]
    parts: dict[str, list[tuple[Fraction, bool]]] = {}
    for place in ("initContainers", "containers"):
        for one in spec.get(place) or []:
            lasts = place == "containers" or one.get("restartPolicy") == "Always"
            for resource, amount in stated(one, field).items():
                parts.setdefault(resource, []).append((amount, lasts))
    added = {resource: together(some) for resource, some in parts.items()}
    whole = _of_pods(stated(spec, field))
    implied = _of_pods(stated(spec, "limits")) if field == "requests" else {}
    return {**implied, **added, **whole}


def is_best_effort(pod: Object) -> bool:
    """Whether nothing of the Pod states CPU or memory.

    https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/#besteffort
    """
    return not any(
        amount
        for holder in (pod["spec"], *containers(pod))
        for field in ("requests", "limits")
        for amount in _of_pods(stated(holder, field)).values()
    )


def has_own(pod: Object) -> bool:
    """Whether the Pod states resources as a whole."""
    return any(_of_pods(stated(pod["spec"], field)) for field in ("requests", "limits"))


def _of_pods(amounts: Amounts) -> Amounts:
    return {resource: amount for resource, amount in amounts.items() if resource in _OF_PODS}


def shown(amount: Fraction) -> str:
    """In bytes, in cores, or a number of objects."""
    if amount >= 1024**2 and amount % 1024**2 == 0:
        return f"{amount / 1024**2}Mi"
    return f"{float(amount):g}"
