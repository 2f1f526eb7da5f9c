"""The CPU, memory and local storage of the pod agent's container: what it requests, and its limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from webhook import quantities
from webhook.patch import Operations, add, encoded, encoded_string, pointer
from webhook.pod import Container
from webhook.rawjson import JSONObject, WrongTypeError, object_at

_STORAGE = "ephemeral-storage"
_MOST_GUARANTEED_CPU = "500m"
# What a Pod may state as a whole; of huge pages the pod agent takes none.
_OF_PODS = ("cpu", "memory")
_OF_POD = "spec.resources"
# Kubernetes would accept less. Measured: with 20Mi the pod agent is killed soon after its start.
_LEAST = {
    "memory_limit": ("24Mi", "with less the pod agent may be killed as it starts"),
    "cpu_limit": ("10m", "the lowest limit that Linux can enforce"),
}


class ResourceError(ValueError):
    """A resource value cannot be used.

    Attributes:
        field: which of the fields of `Resources` is wrong.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Resources:
    """Requests and limits, each a Kubernetes quantity.

    Those of CPU and memory are always set: a namespace with a ResourceQuota refuses a Pod with a container
    that lacks one of them, and a LimitRange would otherwise fill in values that were chosen for applications.
    Those of local storage, which only the container's log takes, are None by default: not every kubelet
    counts it, and no Pod that requests it would run on the others.

    CPU: its start needs a quarter of a second of one core, and a limit below a core would stretch that.
    Memory: it takes 20 MiB, and at most some 60 when every limit of its listeners is reached at once
    (docs/reference.md, Size).
    """

    cpu_request: str = "10m"
    cpu_limit: str = "1"
    memory_request: str = "32Mi"
    memory_limit: str = "96Mi"
    ephemeral_storage_request: str | None = None
    ephemeral_storage_limit: str | None = None

    def changed(self, stated: dict[str, str]) -> Resources:
        """These resources, with the `stated` ones replaced.

        When only one of a request and its limit is stated, the other one is adjusted if the two would
        contradict each other: a pod author who writes `memory-limit: 24Mi` means that the request is at most
        that.

        Raises:
            ResourceError: a stated value is not a positive quantity, a stated limit is too low for a pod
                agent, or a stated request is more than the stated limit.
        """
        for field, value in stated.items():
            _check(field, value)
        changed = replace(self, **stated)
        for kind in ("cpu", "memory", "ephemeral_storage"):
            request, limit = f"{kind}_request", f"{kind}_limit"
            asked, most = getattr(changed, request), getattr(changed, limit)
            if asked is None or most is None or quantities.parse(asked) <= quantities.parse(most):
                continue
            if request not in stated:
                changed = replace(changed, **{request: most})
            elif limit not in stated:
                changed = replace(changed, **{limit: asked})
            else:
                raise ResourceError(request, f"is more than the {kind.replace('_', '-')} limit of {most}")
        return changed

    def as_json(self) -> JSONObject:
        """The `resources` field of a container."""
        requests = {"cpu": self.cpu_request, "memory": self.memory_request}
        limits = {"cpu": self.cpu_limit, "memory": self.memory_limit}
        if self.ephemeral_storage_request is not None:
            requests[_STORAGE] = self.ephemeral_storage_request
        if self.ephemeral_storage_limit is not None:
            limits[_STORAGE] = self.ephemeral_storage_limit
        return {"requests": requests, "limits": limits}

    @property
    def guaranteed(self) -> Resources:
        """These resources, requested up to their limits, as each container of a Guaranteed Pod has them.

        What such a Pod requests, no other Pod gets: its CPU is half a core at most, unless more is requested.
        """
        most = min(self.cpu_limit, _MOST_GUARANTEED_CPU, key=quantities.parse)
        cpu = max(self.cpu_request, most, key=quantities.parse)
        memory = self.memory_limit
        return replace(self, cpu_request=cpu, cpu_limit=cpu, memory_request=memory, memory_limit=memory)


def requested(of_pod: JSONObject, kind: str, containers: Sequence[Container]) -> Fraction | None:
    """What the whole Pod requests: what it states; otherwise what its containers request, as the API server
    adds it up; otherwise its limit.

    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers

    Raises:
        WrongTypeError: something else than a quantity is stated.
    """
    stated = _quantity(of_pod, "requests", kind, _OF_POD)
    if stated is None:
        stated = _sum(kind, containers)
    return _quantity(of_pod, "limits", kind, _OF_POD) if stated is None else stated


def _sum(kind: str, containers: Sequence[Container]) -> Fraction | None:
    """What the containers request together; None where none states anything."""
    parts = []
    for container in containers:
        amounts, holder = container.resources, f"{container.field}.resources"
        amount = _quantity(amounts, "requests", kind, holder)
        if amount is None:
            amount = _quantity(amounts, "limits", kind, holder)
        if amount is None:
            continue
        lasts = container.place == "containers" or container.raw.get("restartPolicy") == "Always"
        parts.append((amount, lasts))
    return together(parts) if parts else None


def together(parts: Iterable[tuple[Fraction, bool]]) -> Fraction:
    """What containers take together, init containers first; each is an amount, and whether it lasts: that of
    an init container that is no sidecar ends before the next one begins."""
    lasting = most = Fraction(0)
    for amount, lasts in parts:
        most = max(most, lasting + amount)
        if lasts:
            lasting += amount
    return most


def raised(of_pod: JSONObject, added: Resources, others: Sequence[Container]) -> list[Operations]:
    """Operations that raise the whole Pod's resources by those of the `added` container.

    The API server refuses a Pod whose containers request more than `spec.resources` states, or of which one
    may use more; and what the pod author gave to the application stays the application's. Where request and
    limit are equal, they stay so: that is how Kubernetes knows a Guaranteed Pod. Where a Pod that states a
    limit only requests that limit by default, or by the `others` in a Guaranteed Pod, this is stated. (API
    servers from 1.37 on complete the requests after the webhooks, when the added container requests some.)
    https://kubernetes.io/docs/tasks/configure-pod-container/assign-pod-level-resources/

    Raises:
        WrongTypeError: `of_pod`, which is `spec.resources`, contains something else than quantities.
    """
    if not of_pod:
        return []
    written: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for kind in _OF_PODS:
        stated = {field: _quantity(of_pod, field, kind, _OF_POD) for field in written}
        more, by_others = added.as_json(), _sum(kind, others)
        is_whole = more["requests"][kind] == more["limits"][kind]
        if stated["requests"] is None and (by_others is None or (is_whole and by_others == stated["limits"])):
            stated["requests"] = stated["limits"]
        if stated["requests"] == stated["limits"]:
            more["requests"] = more["limits"]
        for field, amount in stated.items():
            if amount is not None:
                written[field][kind] = _written(kind, amount + quantities.parse(more[field][kind]))
    return [one for field, values in written.items() for one in _stating(of_pod, field, values)]


def _stating(of_pod: JSONObject, field: str, values: dict[str, str]) -> list[Operations]:
    where = ("spec", "resources", field)
    if values and of_pod.get(field) is None:
        return [add(pointer(*where), encoded(values))]
    return [add(pointer(*where, kind), encoded_string(value)) for kind, value in values.items()]


def limit(of_pod: JSONObject, kind: str) -> Fraction | None:
    """The limit of the whole Pod. Raises WrongTypeError."""
    return _quantity(of_pod, "limits", kind, _OF_POD)


def _quantity(resources: JSONObject, field: str, kind: str, holder: str) -> Fraction | None:
    value = object_at(resources, field, holder).get(kind)
    if value is None:
        return None
    where = f"{holder}.{field}"
    # A manifest that no API server has processed may contain a number.
    if not isinstance(value, (str, int, float)):
        raise WrongTypeError(f"{where}.{kind} is not a quantity")
    try:
        return quantities.parse(str(value))
    except ValueError as error:
        raise WrongTypeError(f"{where}.{kind}: {error}") from error


def _written(kind: str, amount: Fraction) -> str:
    """A quantity in whole bytes, or in thousandths of a core: Kubernetes accepts nothing finer."""
    return str(math.ceil(amount)) if kind == "memory" else f"{math.ceil(amount * 1000)}m"


def _check(field: str, value: str) -> None:
    try:
        amount = quantities.parse(value)
    except ValueError as error:
        raise ResourceError(field, str(error)) from error
    if amount <= 0:
        raise ResourceError(field, "must be more than 0")
    # `64m` of memory is a typing error for 64Mi: Kubernetes accepts it, rounds it up to one byte, and the
    # container never starts.
    if not field.startswith("cpu") and amount.denominator != 1:
        raise ResourceError(field, f"is {float(amount):g} bytes; expected whole bytes, such as 64Mi")
    if field.startswith("cpu") and amount < Fraction(1, 1000):
        raise ResourceError(field, "is less than 1m, the smallest CPU share that Kubernetes knows")
    if field in _LEAST:
        least, why = _LEAST[field]
        if amount < quantities.parse(least):
            raise ResourceError(field, f"is less than {least}, {why}")
