"""Events about misused bootstrap credentials.

A bootstrap credential without a matching token means that an attacker copied a Secret. The API counts and
logs each such call; an Event in the namespace tells its owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from blessings.encoding.times import rfc3339
from cluster_agent.errors import Refusal
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi
from cluster_agent.model import Secret

_log = structlog.get_logger(__name__)
_AT_MOST_EVERY = timedelta(minutes=1)
_WRITING_SECONDS = 10
_MAX_UNDER_WAY = 8
_MAX_OF_NAMESPACE = 2


class NamespaceEvents:
    """Writes Warning Events in the namespace of a secret that was misused.

    It writes at most one per minute for each secret and reason, so that an attacker's many calls cannot flood
    the API server. The answer to the client does not wait for it.
    """

    def __init__(self, api: KubernetesApi, now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self._last: dict[tuple[str, str], datetime] = {}
        self._under_way: dict[asyncio.Task[None], str] = {}

    def report(self, secret: Secret, refusal: Refusal) -> None:
        """Starts writing the Event; failures are logged."""
        now = self._now()
        key = (secret.id, refusal.reason)
        self._last = {one: when for one, when in self._last.items() if abs(now - when) < _AT_MOST_EVERY}
        namespace = secret.application.namespace
        same = sum(one == namespace for one in self._under_way.values())
        if key in self._last or len(self._under_way) >= _MAX_UNDER_WAY or same >= _MAX_OF_NAMESPACE:
            return
        self._last[key] = now
        task = asyncio.create_task(self._write(secret, refusal, now))
        self._under_way[task] = namespace
        task.add_done_callback(self._under_way.pop)

    async def _write(self, secret: Secret, refusal: Refusal, now: datetime) -> None:
        namespace = secret.application.namespace
        try:
            async with asyncio.timeout(_WRITING_SECONDS):
                await self._api.create(f"/api/v1/namespaces/{namespace}/events", event(secret, refusal, now))
        except (ApiCallError, TimeoutError) as error:
            _log.warning("event not written", namespace=namespace, error=f"{type(error).__name__}: {error}")


def event(secret: Secret, refusal: Refusal, now: datetime) -> dict[str, Any]:
    """The core/v1 Event for a misused bootstrap credential."""
    namespace = secret.application.namespace
    time = rfc3339(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "vanadium-bootstrap.", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Namespace",
            "name": namespace,
            "namespace": namespace,
        },
        "type": "Warning",
        "reason": "BootstrapCredentialMisused",
        "message": (
            f"The bootstrap credential of service account {secret.application.service_account} was presented "
            f"without a matching pod token ({refusal.reason}: {refusal}). If no pod is misconfigured, the "
            "Secret vanadium-bootstrap was copied: delete it, and it is made anew."
        ),
        "source": {"component": "vanadium-cluster-agent"},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
