"""The election of the one replica that heals, by a Lease.

As client-go does it, no two clocks are compared: a Lease that did not change for `LEASE_SECONDS` of one's own
clock is free. https://kubernetes.io/docs/concepts/architecture/leases/
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from certs.api_server import ApiServerRefusal, BoundedApiClient

NAME = "vanadium-webhook-healer"
LEASE_SECONDS = 30
# The holder stops well before another one may begin.
_HELD_SECONDS = 20.0


class Lease:
    """One replica's view of the Lease."""

    def __init__(
        self,
        api: BoundedApiClient,
        namespace: str,
        holder: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`holder` names this replica; `clock` is monotonic, in seconds."""
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._holder = holder
        self._clock = clock
        self._now = now
        self._renewed_at: float | None = None
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this replica may act now."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < _HELD_SECONDS

    def acquire(self) -> bool:
        """Takes or renews the Lease, if it is ours or free. Returns whether this replica may act. Raises what
        the Kubernetes client raises."""
        began = self._clock()
        try:
            found = self._api.json("GET", f"{self._collection}/{NAME}")
        except ApiServerRefusal as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            body = {"metadata": {"name": NAME}, "spec": self._spec()}
            return self._write("POST", self._collection, body, began)
        if not self._is_free(found.get("spec") or {}):
            self._renewed_at = None
            return False
        # With its resourceVersion: of two that find it free, one gets it.
        return self._write("PUT", f"{self._collection}/{NAME}", {**found, "spec": self._spec()}, began)

    def _is_free(self, spec: dict[str, Any]) -> bool:
        holder = spec.get("holderIdentity")
        if holder in (self._holder, None, ""):
            return True
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return self._clock() - self._seen_at > LEASE_SECONDS

    def _spec(self) -> dict[str, Any]:
        return {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }

    def _write(self, method: str, path: str, body: dict[str, Any], began: float) -> bool:
        try:
            self._api.json(method, path, body=body)
        except ApiServerRefusal as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            self._renewed_at = None
            return False
        self._renewed_at = began
        return True
