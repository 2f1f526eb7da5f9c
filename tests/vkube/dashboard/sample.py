"""A state as a cluster has it after a while, and the page of any state, served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blessings.encoding.times import rfc3339
from service.listening import listen
from tests.waiting import PATIENCE_SECONDS
from vkube.dashboard.gate import Gate
from vkube.dashboard.server import LOOPBACK, application, serve
from vkube.dashboard.state import AgentFacts, ClusterFacts, Happening, Reading, State, recorded, told

TOKEN = "a-token-that-nobody-guesses"
_APPLICATIONS = {
    "acme:prod:shop:web": 6,
    "acme:prod:shop:cart": 3,
    "acme:prod:payments:ledger": 4,
    "acme:prod:payments:gateway": 2,
    "acme:prod:Fortuned": 1,
    "acme:prod:search:indexer": 24,
}


def replica(application: str, pod: str, now: datetime, left: timedelta, **changes: Any) -> dict[str, Any]:
    """A live replica as the cluster agent lists it."""
    words = application.split(":")
    return {
        "name": f"{application}:{pod}",
        "namespace": words[-2] if len(words) == 4 else "tools",
        "serviceAccount": words[-1].lower(),
        "pod": pod,
        "podUid": f"uid-{application}-{pod}",
        "notAfter": rfc3339(now + left),
        "acknowledged": {"roots": 3, "crl": 41},
        **changes,
    }


def replicas(now: datetime, applications: dict[str, int]) -> list[dict[str, Any]]:
    """So many replicas of each, in the middle of their lives."""
    found = []
    for row, (name, count) in enumerate(applications.items()):
        for number in range(count):
            left = timedelta(minutes=31 + (row * 7 + number * 11) % 29, seconds=number % 60)
            pod = f"{name.rpartition(':')[2].lower()}-7d9f6c8b5-{number * 7919 + 4096:05x}"
            found.append(replica(name, pod, now, left))
    return found


def facts(now: datetime, applications: dict[str, int] | None = None) -> AgentFacts:
    """Of a cluster agent that is in the middle of a rotation, with two replicas that are late."""
    live = replicas(now, applications or _APPLICATIONS)
    for one in live[2:4]:
        one["acknowledged"] = {"roots": 2, "crl": 41}
    count = len(live)

    def published(version: int, acknowledged: int) -> dict[str, Any]:
        return {"version": version, "required": version, "liveReplicas": count, "acknowledged": acknowledged}

    records: list[tuple[int, str, str, dict[str, Any]]] = [
        (9, "refused", "vanadium-bootstrap:shop:web", {
            "path": "/v1/seek-blessings", "reason": "TokenMissing", "count": 3, "address": "10.244.3.17",
            "message": "a bootstrap credential was presented without a token"}),
        (47, "revoked", "acme:administrator", {
            "name": "acme:prod:shop:web:web-7d9f6c8b5-0a2c1", "certificates": 1}),
        (76, "refused", "acme:prod:search:indexer:indexer-0", {
            "path": "/v1/replicas", "reason": "NotAnAdministrator", "count": 1, "address": "10.244.1.8",
            "message": "acme:prod:search:indexer:indexer-0 does not administer this cluster agent"}),
        (150, "roots-changed", "acme:administrator", {"prepared": "4e:00:9a:51"}),
        (340, "registered", "acme:administrator", {
            "application": "tools/fortuned", "name": "acme:prod:Fortuned"}),
    ]  # fmt: skip
    happened = [
        recorded({
            "chain": "c", "number": minutes,
            "record": {
                "at": rfc3339(now - timedelta(minutes=minutes)), "act": act, "caller": caller, **details},
        })
        for minutes, act, caller, details in records
    ]  # fmt: skip
    root = {"since": rfc3339(now - timedelta(days=80)), "notAfter": rfc3339(now + timedelta(days=12))}
    return AgentFacts(
        agent={
            "attestor": "token-review",
            "root": "self-made",
            "administrator": "acme:administrator",
            "publications": {"roots": published(3, count - 2), "crl": published(41, count)},
        },
        replicas=live,
        applications=[],
        revocations=[
            {"kind": "replica", "namespace": "shop", "serviceAccount": "web", "pod": "web-7d9f6c8b5-0a2c1",
             "podUid": "uid-1", "gone": False, "revokedAt": rfc3339(now - timedelta(minutes=47))},
        ],
        roots=[
            {"key": "3d:92:fc:07:11:a4:55:e0:9c", "phase": "active", **root},
            {"key": "4e:00:9a:51:c2:7f:03:d8:11", "phase": "prepared", **root, "liveReplicas": count,
             "acknowledged": count - 2, "shareNeeded": 1.0,
             "activeAtTheLatest": rfc3339(now + timedelta(hours=25)),
             "notAfter": rfc3339(now + timedelta(days=90))},
        ],
        patterns=["acme"],
        happenings=[one for one in happened if one is not None],
    )  # fmt: skip


def event(namespace: str, now: datetime, reason: str, message: str, **changes: Any) -> Happening:
    """An Event about the namespace."""
    return told(
        {
            "metadata": {
                "uid": f"{namespace}-{reason}",
                "namespace": namespace,
                "creationTimestamp": rfc3339(now),
            },
            "involvedObject": {"name": namespace},
            "reason": reason,
            "message": message,
            **changes,
        },
        now,
    )


def cluster_facts(now: datetime) -> ClusterFacts:
    """Two Pods that lack an identity, and what the API server has of a tripwire."""
    misused = (
        "The bootstrap credential of service account web was presented without a matching pod token. If no "
        "pod is misconfigured, the Secret vanadium-bootstrap was copied: delete it, and it is made anew."
    )
    why = "created before the label, or while the webhook was away"
    return ClusterFacts(
        without_identity=[
            {"namespace": "search", "pod": "reindex-28912", "why": why},
            {"namespace": "payments", "pod": "migrate-schema-v4-9xk2p", "why": "the volume name "
             "vanadium-agent is taken by the Pod's own volume"},
        ],
        happenings=[event("shop", now - timedelta(minutes=9), "BootstrapCredentialMisused", misused)],
    )  # fmt: skip


def sample(now: datetime, **of_agent: Any) -> State:
    """All of it, read a moment ago."""
    return State(
        "gke_acme_europe-west6_prod",
        Reading(replace(facts(now), **of_agent), now - timedelta(seconds=2)),
        Reading(cluster_facts(now), now - timedelta(seconds=7)),
    )


@contextmanager
def served(state: Callable[[], State]) -> Iterator[str]:
    """The URL of the page, with TOKEN."""
    listening = listen(LOOPBACK, 0, "--port")
    port = listening.getsockname()[1]
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    app = application(Gate(port, TOKEN), TOKEN, state)
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(serve(listening, app, (), stop, ready.set)), daemon=True
    )
    thread.start()
    assert ready.wait(PATIENCE_SECONDS)
    try:
        yield f"http://{LOOPBACK}:{port}/{TOKEN}/"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_SECONDS)
        loop.close()


def now() -> datetime:
    return datetime.now(UTC)
