"""One probe of a container: httpGet, tcpSocket or exec."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx

from vkube.runner.errors import UnsupportedPod

Exec = Callable[[Sequence[str]], Awaitable[int]]


async def ask(probe: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str, execute: Exec) -> bool:
    """Whether the probe succeeds within its timeout. Raises UnsupportedPod."""
    timeout = probe.get("timeoutSeconds") or 1
    try:
        async with asyncio.timeout(timeout):
            if request := probe.get("httpGet"):
                return await _http_get(request, container, pod_ip)
            if connection := probe.get("tcpSocket"):
                port = port_of(connection["port"], container)
                _, writer = await asyncio.open_connection(connection.get("host") or pod_ip, port)
                writer.close()
                return True
            if command := probe.get("exec"):
                return await execute(command["command"]) == 0
    except (TimeoutError, OSError, httpx.HTTPError):
        return False
    raise UnsupportedPod(
        f"container {container['name']!r}: a probe by {', '.join(probe)} is not known to the runner"
    )


async def _http_get(request: Mapping[str, Any], container: Mapping[str, Any], pod_ip: str) -> bool:
    scheme = (request.get("scheme") or "HTTP").lower()
    host, port = request.get("host") or pod_ip, port_of(request["port"], container)
    url = f"{scheme}://{host}:{port}{request.get('path') or '/'}"
    headers = {header["name"]: header["value"] for header in request.get("httpHeaders") or []}
    # Like a kubelet, without checking a certificate.
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:  # noqa: S501
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
