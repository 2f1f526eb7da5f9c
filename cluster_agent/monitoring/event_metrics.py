"""The metric of Events about first identities."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter

from cluster_agent.kubernetes.beginnings import Outcome


class EventMetrics:
    """Counts the Events by what became of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "vanadium_cluster_agent_identity_events",
            "Events on Pods about their first identity: written, failed, or left-out because the Pod had one "
            "within five minutes or too many waited.",
            ["outcome"],
            registry=registry,
        )
        for outcome in get_args(Outcome):
            self._events.labels(outcome)

    def told(self, outcome: Outcome) -> None:
        self._events.labels(outcome).inc()
