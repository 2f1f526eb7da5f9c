"""The service mesh in a Pod: where the pod agent stands beside its containers, and passes by its proxy.

Capture begins with a mesh's init container, or, where its CNI plugin set it up, before any container. From
then on nothing reaches the network until the proxy runs. So the pod agent goes behind a proxy that is a
native sidecar, and its calls to the cluster agent, which are mutual TLS already, are excluded from capture by
the annotation that the mesh has for it. docs/meshes.md has the reasons and the limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from webhook.patch import Operations, add, encoded, encoded_string, pointer
from webhook.pod import Container, Pod


@dataclass(frozen=True)
class Mesh:
    """The names of a mesh's containers, and its annotation for ports whose outgoing traffic is not captured.

    The validator ends once capture works; the others, such as the one that sets it up, are in `further`.
    """

    proxy: str
    validator: str
    further: tuple[str, ...]
    annotation: str

    @property
    def containers(self) -> tuple[str, ...]:
        return (self.proxy, self.validator, *self.further)


MESHES: Final = (
    Mesh(
        proxy="istio-proxy",
        validator="istio-validation",
        further=("istio-init", "enable-core-dump"),
        annotation="traffic.sidecar.istio.io/excludeOutboundPorts",
    ),
    Mesh(
        proxy="linkerd-proxy",
        validator="linkerd-network-validator",
        further=("linkerd-init",),
        annotation="config.linkerd.io/skip-outbound-ports",
    ),
)
_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_OF_CONTAINER: Final = {name: mesh for mesh in MESHES for name in mesh.containers}


def place(containers: Iterable[Container]) -> int:
    """The index in `initContainers` where the pod agent goes: 0, or behind a mesh's own first containers.

    A mesh without a native sidecar has its proxy started last: then the pod agent goes before the container
    that begins capture, and behind the validator only.
    """
    found = 0
    for container in containers:
        mesh = _OF_CONTAINER.get(container.name)
        if mesh is None or container.place != "initContainers":
            break
        is_running = container.name == mesh.proxy and container.raw.get("restartPolicy") == "Always"
        if is_running or container.name == mesh.validator:
            found = container.index + 1
    return found


def exclusions(pod: Pod, containers: Iterable[Container], port: int) -> list[Operations]:
    """Operations that exclude `port` from capture by the meshes in the Pod, and keep the user's ports."""
    found = [one.name for one in containers if one.name in _OF_CONTAINER]
    if not found:
        return []
    annotations = sorted({_OF_CONTAINER[name].annotation for name in found})
    values = {name: value for name in annotations if (value := _with(pod.annotations.get(name), port))}
    if pod.metadata.get("annotations") is None:
        return [add("/metadata/annotations", encoded(values))]
    return [add(pointer("metadata", "annotations", name), encoded_string(values[name])) for name in values]


def _with(stated: str | None, port: int) -> str | None:
    """The list of ports with `port` in it; None when it is in it already."""
    parts = [part.strip() for part in (stated or "").split(",") if part.strip()]
    return None if _have(parts, port) else ",".join([*parts, str(port)])


def _have(parts: Sequence[str], port: int) -> bool:
    """Whether one of the parts is the port, a range that contains it (Linkerd), or `*`."""
    ranges = [match for part in parts if (match := _RANGE.fullmatch(part)) is not None]
    return "*" in parts or any(int(one[1]) <= port <= int(one[2] or one[1]) for one in ranges)
