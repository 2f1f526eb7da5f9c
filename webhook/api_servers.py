"""The addresses of the API servers, which get the larger part of what callers may hold (`shares`).

They are those of the Service `kubernetes` in the namespace `default`, and those of a setting. Where API
servers call through a tunnel or another node's address, as managed ones do, only the setting can name them.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address

import structlog

from certs.api_server import API_SERVER_ERRORS, ApiServerRefusal, BoundedApiClient
from service.addresses import Network, plain_address
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread

_log = structlog.stdlib.get_logger("webhook.api_servers")

_EVERY_SECONDS = 15.0
# Each API server keeps it, under this name.
_PATH = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


class ApiServers:
    """What is known of the API servers' addresses."""

    def __init__(self, stated: Iterable[Network] = ()) -> None:
        self._stated = tuple(stated)
        self._found: frozenset[str] = frozenset()

    def has(self, address: str) -> bool | None:
        """Whether it is an API server's; None as long as none is known."""
        if not self._stated and not self._found:
            return None
        plain = plain_address(address)
        return plain in self._found or any(ip_address(plain) in network for network in self._stated)

    def task(self, api: BoundedApiClient) -> Task:
        """Keeps the addresses of the Service up to date."""

        async def find() -> None:
            found = await in_daemon_thread("api-servers", lambda: _addresses(api))
            if found != self._found:
                self._found = found
                _log.info("API servers known", addresses=sorted(found))

        return Task(
            "api-servers",
            find,
            period=_EVERY_SECONDS,
            failure="addresses of the API servers not read",
            expected=API_SERVER_ERRORS,
            back_off=BackOff(1.0, _EVERY_SECONDS),
        )


def _addresses(api: BoundedApiClient) -> frozenset[str]:
    try:
        found = api.json("GET", _PATH)
    except ApiServerRefusal as refusal:
        if refusal.status == HTTPStatus.NOT_FOUND:  # an API server may be told to leave it to others
            return frozenset()
        raise
    endpoints = found.get("endpoints") or []
    return frozenset(plain_address(one) for endpoint in endpoints for one in endpoint.get("addresses") or [])
