"""One probe of a container: httpGet, tcpSocket, grpc or exec."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from vkube.runner.errors import UnsupportedPod

_KINDS = ("httpGet", "tcpSocket", "grpc", "exec")

Exec = Callable[[Sequence[str]], Awaitable[int]]


async def ask(probe: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str, execute: Exec) -> bool:
    """Returns whether the probe succeeds within its timeout. Raises UnsupportedPod, as `check` does."""
    timeout = probe.get("timeoutSeconds") or 1
    try:
        async with asyncio.timeout(timeout):
            if request := probe.get("httpGet"):
                return await _http_get(request, container, pod_ip, timeout)
            if connection := probe.get("tcpSocket"):
                port = port_of(connection["port"], container)
                _, writer = await asyncio.open_connection(connection.get("host") or pod_ip, port)
                writer.close()
                return True
            if service := probe.get("grpc"):
                return await _grpc(service, pod_ip)
            return await execute(probe["exec"]["command"]) == 0
    except (TimeoutError, OSError, httpx.HTTPError, GRPCError, ProtocolError, StreamTerminatedError):
        return False


def check(probe: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    """Raises UnsupportedPod for a probe that can never be asked."""
    if not any(probe.get(kind) for kind in _KINDS):
        raise UnsupportedPod(
            f"container {container['name']!r}: a probe has one of {', '.join(_KINDS)}; "
            f"this one has {', '.join(probe) or 'nothing'}"
        )
    for kind in ("httpGet", "tcpSocket"):
        if target := probe.get(kind):
            port_of(target["port"], container)


async def starts(probe: Mapping[str, Any], asking: Callable[[Mapping[str, Any]], Awaitable[bool]]) -> bool:
    """Whether a startup probe succeeds before its failures run out."""
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    # A kubelet's shortest period is a second; a shorter one only makes local mode faster.
    period = min(float(probe.get("periodSeconds") or 10), 0.25)
    deadline = (probe.get("failureThreshold") or 3) * (probe.get("periodSeconds") or 10)
    for _ in range(max(1, int(deadline / period))):
        if await asking(probe):
            return True
        await asyncio.sleep(period)
    return False


def command_after_start(container: Mapping[str, Any]) -> list[str] | None:
    """The command of a container's `postStart` hook. Raises UnsupportedPod for one without."""
    hook = ((container.get("lifecycle") or {}).get("postStart") or {}).get("exec")
    if hook is not None and not hook.get("command"):
        raise UnsupportedPod(f"container {container['name']!r}: lifecycle.postStart.exec has no command")
    return None if hook is None else list(hook["command"])


async def _grpc(service: Mapping[str, Any], pod_ip: str) -> bool:
    """grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""
    async with Channel(pod_ip, service["port"]) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=service.get("service") or ""))
    return bool(answer.status == HealthCheckResponse.SERVING)


async def _http_get(
    request: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str, seconds: float
) -> bool:
    scheme = (request.get("scheme") or "HTTP").lower()
    host, port = request.get("host") or pod_ip, port_of(request["port"], container)
    named = f"[{host}]" if ":" in host else host  # an IPv6 address
    url = f"{scheme}://{named}:{port}{request.get('path') or '/'}"
    headers = {header["name"]: header["value"] for header in request.get("httpHeaders") or []}
    # Like a kubelet, without checking a certificate.
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=seconds) as client:  # noqa: S501
        response = await client.get(url, headers=headers)
    return 200 <= response.status_code < 400


def port_of(port: int | str, container: Mapping[str, Any]) -> int:
    """A port by number, or by the name that the container declares. Raises UnsupportedPod."""
    if isinstance(port, int):
        return port
    for declared in container.get("ports") or []:
        if declared.get("name") == port:
            return int(declared["containerPort"])
    raise UnsupportedPod(f"container {container['name']!r} declares no port named {port!r}")
