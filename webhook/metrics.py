"""The webhook's metrics, in the Prometheus text format."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from service.watch_age import WatchMetrics
from webhook.reasons import AdmissionReason
from webhook.shares import Limit, Shares

# Seconds. The API server waits for 5 at most, and should have to wait for a few thousandths.
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The metrics of one running server, in a registry of its own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._admissions = Counter(
            "vanadium_webhook_admissions",
            "Admission calls answered, by reason.",
            ["reason", "dry_run"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "vanadium_webhook_admission_seconds",
            "Time from the request's headers to the answer, in seconds.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._reconciles = Counter(
            "vanadium_webhook_reconciles",
            "Namespaces reconciled, by result.",
            ["result"],
            registry=self.registry,
        )
        self.watches = WatchMetrics(self.registry, "webhook")
        self._in_excess = Gauge(
            "vanadium_webhook_service_accounts_without_credential",
            "Service accounts for which their namespace's Secret has no room.",
            registry=self.registry,
        )
        self._turned_away = Counter(
            "vanadium_webhook_turned_away",
            "Connections and requests that a limit cost, by limit.",
            ["limit"],
            registry=self.registry,
        )
        self._connections = Gauge(
            "vanadium_webhook_connections", "Connections that are open.", registry=self.registry
        )
        self._held_bytes = Gauge(
            "vanadium_webhook_held_bytes",
            "Bytes held of requests that are not complete and answers that are not read.",
            registry=self.registry,
        )
        # Each reason starts with 0, so that a rate does not miss the first time that it occurs.
        self._by_outcome = {
            (reason, dry_run): self._admissions.labels(reason.value, "true" if dry_run else "false")
            for reason in AdmissionReason
            for dry_run in (False, True)
        }
        for limit in get_args(Limit):
            self._turned_away.labels(limit)

    def answered(self, reason: AdmissionReason, dry_run: bool, seconds: float) -> None:
        """Counts one answer, which took `seconds`."""
        self._by_outcome[reason, dry_run].inc()
        self._seconds.observe(seconds)

    def turned_away(self, limit: str) -> None:
        """Counts one connection or request that a limit cost: `connections` or `bytes`."""
        self._turned_away.labels(limit).inc()

    def watch(self, shares: Shares) -> None:
        """Shows what callers hold."""
        self._connections.set_function(lambda: shares.connections)
        self._held_bytes.set_function(lambda: shares.bytes)

    def reconciled(self, result: str) -> None:
        """Counts one namespace: Written, Unchanged, Conflict, Failed, or Unreachable for a whole round."""
        self._reconciles.labels(result).inc()

    def in_excess(self, count: int) -> None:
        """States for how many service accounts there is no room."""
        self._in_excess.set(count)

    def watch_backlog(self, seconds: Callable[[], float]) -> None:
        """Adds the gauge of the namespace that waits longest; `seconds` is called at each scrape."""
        Gauge(
            "vanadium_webhook_reconciler_behind_seconds",
            "How long the namespace that waits longest for the reconciler has waited, since it changed.",
            registry=self.registry,
        ).set_function(seconds)

    def watch_volumes(self, possible: Callable[[], bool]) -> None:
        """Adds the gauge of whether the kubelet of each node can keep an identity in a volume."""
        Gauge(
            "vanadium_webhook_volumes_possible",
            "1 where each node's kubelet can keep an identity in a volume, so that auto takes it; else 0.",
            registry=self.registry,
        ).set_function(possible)

    def exposition(self) -> bytes:
        """All metrics, in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)


class NoticeMetrics:
    """The Events about Pods."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "vanadium_webhook_events",
            "Events about Pods without an identity, by result; Dropped: beyond what a namespace may have.",
            ["result"],
            registry=registry,
        )
        for result in ("Written", "Failed", "Dropped"):
            self._events.labels(result)

    def event(self, result: str) -> None:
        """Counts one: Written, Failed or Dropped."""
        self._events.labels(result).inc()


class HealerMetrics:
    """What the healer found, and did. Only the replica that has its Lease shows any."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._found = Gauge(
            "vanadium_webhook_healer_pods",
            "Pods that are to be made again, by cause: Missing, they have no identity; Outdated, "
            "their pod agent is no longer supported.",
            ["cause"],
            registry=registry,
        )
        self._left = Gauge(
            "vanadium_webhook_healer_left",
            "Pods without an identity that the healer leaves as they are for now, by reason.",
            ["reason"],
            registry=registry,
        )
        self._evictions = Counter(
            "vanadium_webhook_healer_evictions",
            "Evictions by result; Budget: a PodDisruptionBudget permitted none.",
            ["result"],
            registry=registry,
        )
        for result in ("Evicted", "DryRun", "Budget", "Changed", "Failed"):
            self._evictions.labels(result)

    def surveyed(self, found: Mapping[str, int], left: Mapping[str, int]) -> None:
        """States what the last survey found."""
        self._found.clear()
        self._left.clear()
        for cause, count in found.items():
            self._found.labels(cause).set(count)
        for reason, count in left.items():
            self._left.labels(reason).set(count)

    def evicted(self, result: str) -> None:
        """Counts one eviction, or attempt."""
        self._evictions.labels(result).inc()


class CaBundleMetrics:
    """The roots in our MutatingWebhookConfiguration, by which API servers know the webhook."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._right_at = clock()
        self._writes = Counter(
            "vanadium_webhook_ca_bundle_writes",
            "How often caBundle was written, because it was not as it must be.",
            registry=registry,
        )
        Gauge(
            "vanadium_webhook_ca_bundle_seconds_since_right",
            "Since this replica last saw, or made, caBundle as it must be; before that, since the start.",
            registry=registry,
        ).set_function(lambda: self._clock() - self._right_at)

    def right(self, *, written: bool) -> None:
        """Call it when caBundle is as it must be."""
        self._right_at = self._clock()
        if written:
            self._writes.inc()
