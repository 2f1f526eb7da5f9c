"""Service accounts for which their namespace's Secret has no room: told by an Event, the log and a metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog

from certs.api_server import API_SERVER_ERRORS, ApiServerRefusal, BoundedApiClient
from webhook.kubernetes_clients import description
from webhook.layout import BOOTSTRAP_SECRET
from webhook.metrics import Metrics

# One Event in each namespace: its name is the same each time, so that RBAC can limit its update to it.
EVENT = f"{BOOTSTRAP_SECRET}.excess"
REASON = "ServiceAccountsWithoutCredential"
# The API server forgets an Event after an hour by default.
_REPEAT_SECONDS = 1800.0
_AT_MOST_EVERY_SECONDS = 60.0
_NAMED = 3
_log = structlog.stdlib.get_logger("webhook.reconciler")


class Excess:
    """The service accounts in excess, by namespace."""

    def __init__(
        self,
        api: BoundedApiClient,
        metrics: Metrics,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._api = api
        self._metrics = metrics
        self._now = now
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._told: dict[str, tuple[float, str]] = {}

    def note(self, namespace: str, accounts: Sequence[str]) -> None:
        """States that these are now the namespace's service accounts in excess. What hinders the Event is
        logged."""
        if accounts:
            self._counts[namespace] = len(accounts)
            self._tell(namespace, accounts)
        else:
            self._counts.pop(namespace, None)
            # Not forgotten: a tenant can make room, and take it again, several times a second.
            if namespace in self._told:
                self._told[namespace] = (self._told[namespace][0], "")
        self._metrics.in_excess(sum(self._counts.values()))

    def _tell(self, namespace: str, accounts: Sequence[str]) -> None:
        text, now = message(accounts), self._clock()
        self._told = {one: told for one, told in self._told.items() if now - told[0] < _REPEAT_SECONDS}
        at, before = self._told.get(namespace, (-_REPEAT_SECONDS, ""))
        if now - at < (_REPEAT_SECONDS if text == before else _AT_MOST_EVERY_SECONDS):
            return
        self._told[namespace] = (now, text)
        _log.warning(
            "service accounts without a credential",
            namespace=namespace,
            count=len(accounts),
            first=accounts[:_NAMED],
        )
        try:
            self._write(namespace, event(namespace, text, self._now()))
        except API_SERVER_ERRORS as error:
            _log.warning("event not written", namespace=namespace, error=description(error))

    def _write(self, namespace: str, body: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{quote(namespace)}/events"
        try:
            self._api.json("POST", path, body=body)
        except ApiServerRefusal as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            self._api.json("PUT", f"{path}/{EVENT}", body=body)


def message(accounts: Sequence[str]) -> str:
    """The Event's message, of at most 1024 bytes, which names the first of the service accounts."""
    others = len(accounts) - _NAMED
    named = ", ".join(accounts[:_NAMED]) + (f" and {others} more" if others > 0 else "")
    return (
        f"{named}: no room in Secret {BOOTSTRAP_SECRET}, so their Pods wait. Delete service accounts that "
        "are not needed, or use another namespace."
    )


def event(namespace: str, text: str, now: datetime) -> dict[str, Any]:
    """The core/v1 Event."""
    written = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": EVENT, "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Namespace",
            "name": namespace,
            "namespace": namespace,
        },
        "type": "Warning",
        "reason": REASON,
        "message": text,
        "source": {"component": "vanadium-webhook"},
        "firstTimestamp": written,
        "lastTimestamp": written,
        "count": 1,
    }
