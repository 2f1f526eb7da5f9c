"""The metrics of PodCertificateRequests. No pod's author chooses a label's value: reasons are our own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cluster_agent.errors import Refusal
from cluster_agent.pod_requests.pending import Pending

# A request waits for the API server three times; one that cannot be answered now, for minutes.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
# Kubernetes states creations in whole seconds.
_BEGUN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


class PodRequestMetrics:
    """The metrics of one agent's desk."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._results = Counter(
            "vanadium_cluster_agent_pod_requests",
            "Turns of PodCertificateRequests: issued, denied (for good), or waits (tried again), and why.",
            ["result", "reason"],
            registry=registry,
        )
        self._results.labels("issued", "")
        self._seconds = Histogram(
            "vanadium_cluster_agent_pod_request_seconds",
            "Time from a PodCertificateRequest seen to its status set, for those issued.",
            buckets=_SECONDS,
            registry=registry,
        )

        self._begun = Histogram(
            "vanadium_cluster_agent_pod_begun_seconds",
            "Time from a Pod's creation to its first certificate by a PodCertificateRequest.",
            buckets=_BEGUN_SECONDS,
            registry=registry,
        )

    def follow(self, pending: Pending) -> None:
        """Adds the gauges of what is pending, read at each scrape."""
        name = "vanadium_cluster_agent_pod_requests_pending"
        text = "PodCertificateRequests for our signer without an answer."
        Gauge(name, text, registry=self._registry).set_function(lambda: len(pending))
        name = "vanadium_cluster_agent_pod_requests_oldest_seconds"
        text = "Since this agent first saw the PodCertificateRequest that waits longest; 0 when none does."
        Gauge(name, text, registry=self._registry).set_function(lambda: pending.oldest_seconds)

    def issued(self, seconds: float) -> None:
        self._results.labels("issued", "").inc()
        self._seconds.observe(seconds)

    def begun(self, seconds: float) -> None:
        self._begun.observe(seconds)

    def denied(self, refusal: Refusal) -> None:
        self._results.labels("denied", refusal.reason).inc()

    def waits(self, refusal: Refusal) -> None:
        self._results.labels("waits", refusal.reason).inc()
