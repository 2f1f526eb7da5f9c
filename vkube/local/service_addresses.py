"""Services in local mode: an address of loopback each, at which every connection goes to a ready Pod.

There is no DNS, so the names of Services in variables, commands and arguments become their addresses, as the
mount paths there become directories; and Pods have the variables of Kubernetes.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from vkube.local.manifests import Manifest
from vkube.runner import RunningPod

_CHUNK = 1 << 16
_MOST_CONNECTIONS = 500


@dataclass
class LocalService:
    """One Service and its address."""

    manifest: Manifest
    address: str
    servers: list[asyncio.Server] = field(default_factory=list)
    turns: count[int] = field(default_factory=count)
    open: int = 0

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def ports(self) -> Sequence[Mapping[str, Any]]:
        """Those for TCP."""
        every = (self.manifest.get("spec") or {}).get("ports") or ()
        return [one for one in every if one.get("protocol") in (None, "TCP")]

    def selects(self, pod: RunningPod) -> bool:
        wanted = self.manifest["spec"]["selector"]
        labels = pod.pod["metadata"].get("labels") or {}
        return pod.namespace == self.namespace and wanted.items() <= labels.items()


class ServiceAddresses:
    """The Services of the manifests. `pods` are all that run, `allocate` gives an address of loopback."""

    def __init__(
        self,
        pods: Callable[[], Sequence[RunningPod]],
        allocate: Callable[[], str],
        note: Callable[[str], None],
    ) -> None:
        self._pods = pods
        self._allocate = allocate
        self._note = note
        self._services: list[LocalService] = []

    async def add(self, manifest: Manifest) -> None:
        """Listens at the Service's ports, each of which is told if it cannot be had."""
        service = LocalService(manifest, self._allocate())
        title = f"Service {service.namespace}/{service.name}"
        for port in service.ports:
            try:
                listening = socket.create_server((service.address, port["port"]))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                self._note(f"{title} does not listen at its port {port['port']}: {reason}")
                continue
            server = await asyncio.start_server(self._forwarder(service, port), sock=listening)
            service.servers.append(server)
            self._note(f"{title} at {service.address}:{port['port']}")
        self._services.append(service)

    def close(self) -> None:
        """Accepts no more connections."""
        for service in self._services:
            for server in service.servers:
                server.close()

    def variables(self, pod: Mapping[str, Any]) -> dict[str, str]:
        """`WEB_SERVICE_HOST`, `WEB_SERVICE_PORT`, `WEB_SERVICE_PORT_HTTPS`, unless the Pod wants none."""
        if pod["spec"].get("enableServiceLinks") is False:
            return {}
        found: dict[str, str] = {}
        for one in self._services:
            if one.namespace == pod["metadata"]["namespace"] and one.ports:
                begun = f"{one.name.upper().replace('-', '_')}_SERVICE"
                found |= {f"{begun}_HOST": one.address, f"{begun}_PORT": str(one.ports[0]["port"])}
                for port in one.ports:
                    if port.get("name"):
                        name = port["name"].upper().replace("-", "_")
                        found[f"{begun}_PORT_{name}"] = str(port["port"])
        return found

    def addressed(self, text: str, namespace: str) -> str:
        """The text with `web.shop.svc` replaced by the address, and for Services of that namespace also `web`
        before one of its ports: http://web:8443, web:8443."""
        for one in self._services:
            long = rf"{re.escape(one.name)}\.{re.escape(one.namespace)}\.svc(?:\.cluster\.local)?"
            text = re.sub(rf"(?<![\w.-]){long}(?![\w-]|\.\w)", one.address, text)
            ports = "|".join(str(port["port"]) for port in one.ports)
            if ports and one.namespace == namespace:
                short = rf"(?:(?<=://)|(?<=[@,=\s])|^){re.escape(one.name)}(?=:(?:{ports})\b)"
                text = re.sub(short, one.address, text)
        return text

    def _forwarder(self, service: LocalService, port: Mapping[str, Any]) -> Any:
        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            service.open += 1
            try:
                if service.open <= _MOST_CONNECTIONS:
                    await _joined(reader, writer, self._endpoint(service, port))
            finally:
                service.open -= 1
                writer.close()

        return forward

    def _endpoint(self, service: LocalService, port: Mapping[str, Any]) -> tuple[str, int] | None:
        """Where the next ready Pod listens; None without one."""
        ready = [pod for pod in self._pods() if service.selects(pod) and _is_ready(pod)]
        if not ready:
            return None
        pod = ready[next(service.turns) % len(ready)]
        target = port.get("targetPort") or port["port"]
        if isinstance(target, int):
            return pod.ip, target
        spec = pod.pod["spec"]
        for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
            for one in container.get("ports") or []:
                if one.get("name") == target:
                    return pod.ip, int(one["containerPort"])
        return None


def _is_ready(pod: RunningPod) -> bool:
    conditions = pod.status.get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def _joined(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: tuple[str, int] | None
) -> None:
    """Copies both ways until both have ended."""
    if endpoint is None:
        return
    with suppress(OSError):  # what either side would see in a cluster too: the connection ends
        theirs, to_them = await asyncio.open_connection(*endpoint)
        try:
            await asyncio.gather(_copied(reader, to_them), _copied(theirs, writer))
        finally:
            to_them.close()


async def _copied(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while content := await source.read(_CHUNK):
        sink.write(content)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
