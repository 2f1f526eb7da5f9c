"""What Prometheus sees of the cluster agent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cluster_agent.errors import Limit, Refusal
from cluster_agent.issuing.policy import Secret
from cluster_agent.monitoring.overload_metrics import OverloadMetrics
from cluster_agent.monitoring.stage_metrics import SECONDS, StageMetrics
from cluster_agent.server.connection_limits import ConnectionLimits

SEEK_BLESSINGS = "/v1/seek-blessings"
RESULTS = {429: "throttled", 503: "unavailable"}


class Metrics:
    """Counters of one agent, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stages = StageMetrics(self.registry)
        self._overload = OverloadMetrics(self.registry)
        self._issued = Counter(
            "vanadium_cluster_agent_blessings_issued", "Replica blessings issued.", registry=self.registry
        )
        self._seconds = Histogram(
            "vanadium_cluster_agent_seek_blessings_seconds",
            "Time from a SeekBlessings request read to its answer, for those issued.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "vanadium_cluster_agent_refusals",
            "Calls refused, by path and reason.",
            ["path", "reason"],
            registry=self.registry,
        )
        self._tripwires = Counter(
            "vanadium_cluster_agent_tripwires",
            "Bootstrap credentials presented without a matching token, by namespace and reason.",
            ["namespace", "reason"],
            registry=self.registry,
        )

        self._queues = Gauge(
            "vanadium_cluster_agent_queue_length",
            "Calls that wait for the store, to record an issuance, find a secret or what is renewed; or "
            "for a token's review.",
            ["queue"],
            registry=self.registry,
        )
        self._results = Counter(
            "vanadium_cluster_agent_issuances",
            "Ends of SeekBlessings: issued, refused, throttled (429) or unavailable (503), and why.",
            ["result", "reason"],
            registry=self.registry,
        )
        self._turned_away = Counter(
            "vanadium_cluster_agent_connections_turned_away",
            "Connections closed because there were too many: in all, from their address, or without a name.",
            registry=self.registry,
        )
        self._connections = Gauge(
            "vanadium_cluster_agent_connections",
            "Open connections, handshakes included.",
            registry=self.registry,
        )
        self._nameless = Gauge(
            "vanadium_cluster_agent_connections_nameless",
            "Of them, those without a client certificate, handshakes included.",
            registry=self.registry,
        )

    def watch_queue(self, name: str, length: Callable[[], int]) -> None:
        """`length` is asked at each scrape."""
        self._queues.labels(name).set_function(length)

    def watch_connections(self, limits: ConnectionLimits) -> None:
        self._connections.set_function(lambda: limits.open)
        self._nameless.set_function(lambda: limits.nameless)

    def turned_away(self, limit: Limit) -> None:
        self._turned_away.inc()
        self._overload.beyond(limit)

    def issued(self, seconds: float) -> None:
        self._issued.inc()
        self._results.labels("issued", "").inc()
        self._seconds.observe(seconds)

    def refused(self, path: str, refusal: Refusal) -> None:
        self._refused.labels(path, refusal.reason).inc()
        self._overload.refused(refusal)
        if path == SEEK_BLESSINGS:
            self._results.labels(RESULTS.get(refusal.status, "refused"), refusal.reason).inc()

    def report(self, secret: Secret, refusal: Refusal) -> None:
        """A tripwire that counts."""
        self._tripwires.labels(secret.application.namespace, refusal.reason).inc()
