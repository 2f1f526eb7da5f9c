"""Events about misused bootstrap credentials, and about pods whose certificate is denied or late.

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
# The API server accepts 1024 bytes.
_LONGEST_MESSAGE = 1000


class Events:
    """Writes Events, at most one per minute for each subject and reason, so that an attacker's many calls
    cannot flood the API server. Nobody waits for it; failures are logged."""

    def __init__(self, api: KubernetesApi, now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self._last: dict[tuple[str, str], datetime] = {}
        self._under_way: dict[asyncio.Task[None], str] = {}

    def write(self, subject: str, reason: str, namespace: str, event: dict[str, Any]) -> None:
        """Starts writing the Event in that namespace."""
        now = self._now()
        key = (subject, reason)
        self._last = {one: when for one, when in self._last.items() if abs(now - when) < _AT_MOST_EVERY}
        same = sum(one == namespace for one in self._under_way.values())
        if key in self._last or len(self._under_way) >= _MAX_UNDER_WAY or same >= _MAX_OF_NAMESPACE:
            return
        self._last[key] = now
        task = asyncio.create_task(self._write(namespace, event))
        self._under_way[task] = namespace
        task.add_done_callback(self._under_way.pop)

    async def _write(self, namespace: str, event: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(_WRITING_SECONDS):
                await self._api.create(f"/api/v1/namespaces/{namespace}/events", event)
        except (ApiCallError, TimeoutError) as error:
            _log.warning("event not written", namespace=namespace, error=f"{type(error).__name__}: {error}")


class NamespaceEvents:
    """Writes Warning Events in the namespace of a secret that was misused."""

    def __init__(self, api: KubernetesApi, now: Callable[[], datetime]) -> None:
        self._events = Events(api, now)
        self._now = now

    def report(self, secret: Secret, refusal: Refusal) -> None:
        """Starts writing the Event."""
        namespace = secret.application.namespace
        self._events.write(secret.id, refusal.reason, namespace, event(secret, refusal, self._now()))


class PodEvents:
    """Writes Warning Events about pods that get no certificate, or not yet."""

    def __init__(self, api: KubernetesApi, now: Callable[[], datetime]) -> None:
        self._events = Events(api, now)
        self._now = now

    def write(self, namespace: str, name: str, uid: str, reason: str, message: str) -> None:
        """Starts writing the Event about that pod."""
        event = core_event(
            {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": namespace, "uid": uid},
            f"{name[:200]}.",
            reason,
            message,
            self._now(),
        )
        self._events.write(uid, f"{reason} {message}", namespace, event)


def event(secret: Secret, refusal: Refusal, now: datetime) -> dict[str, Any]:
    """The core/v1 Event for a misused bootstrap credential."""
    namespace = secret.application.namespace
    return core_event(
        {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace},
        "vanadium-bootstrap.",
        "BootstrapCredentialMisused",
        f"The bootstrap credential of service account {secret.application.service_account} was presented "
        f"without a matching pod token ({refusal.reason}: {refusal}). If no pod is misconfigured, the "
        "Secret vanadium-bootstrap was copied: delete it, and it is made anew.",
        now,
    )


def core_event(
    subject: dict[str, str],
    generate_name: str,
    reason: str,
    message: str,
    now: datetime,
    kind: str = "Warning",
) -> dict[str, Any]:
    """A core/v1 Event in the namespace of its subject; `kind` is Warning or Normal."""
    time = rfc3339(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": generate_name, "namespace": subject["namespace"]},
        "involvedObject": subject,
        "type": kind,
        "reason": reason,
        "message": message[:_LONGEST_MESSAGE],
        "source": {"component": "vanadium-cluster-agent"},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
