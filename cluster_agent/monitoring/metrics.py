"""The cluster agent's Prometheus metrics, each defined here.

No client chooses a label's value: paths are those of routes, and reasons and limits are our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import Scope

from blessings import Name
from cluster_agent.errors import Limit, Refusal, TooManyRequests
from cluster_agent.issuing.stages import Stage
from cluster_agent.model import Application, Secret
from cluster_agent.publications import Publications
from cluster_agent.roots.mounted_issuers import BACK, TAKEN
from cluster_agent.server.connection_limits import CONNECTION_LIMITS, ConnectionLimits, State

SEEK_BLESSINGS = "/v1/seek-blessings"
RESULTS = {429: "throttled", 503: "unavailable"}
# A signature takes a fraction of a millisecond, a token's review 5 s at most; a pod agent waits 10 s for the
# whole call.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SHARES = {"first": 0.0, "0.1": 0.1, "0.5": 0.5, "0.9": 0.9}


def route_of(scope: Scope) -> str | None:
    """The path of the route that a request reached, with the names of its parameters; None when it reached
    none."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


class Metrics:
    """The metrics of one agent, in their own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.stages = StageMetrics(self.registry)
        self._by_limit = Counter(
            "vanadium_cluster_agent_overload",
            "Calls answered with 429, and connections closed at once, by the limit that they were beyond.",
            ["limit"],
            registry=self.registry,
        )
        for limit in get_args(Limit):
            self._by_limit.labels(limit)
        self._issued = Counter(
            "vanadium_cluster_agent_blessings_issued", "Replica blessings issued.", registry=self.registry
        )
        self._seconds = Histogram(
            "vanadium_cluster_agent_seek_blessings_seconds",
            "Time from a SeekBlessings request read to its answer, for those issued.",
            buckets=_SECONDS,
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
        self._evicted = Counter(
            "vanadium_cluster_agent_connections_evicted",
            "Of them, those that were open and made room for a new one, by the limit that was reached and by "
            "what they were: nameless (without a client certificate), idle, or busy with a request.",
            ["limit", "state"],
            registry=self.registry,
        )
        for limit, state in product(CONNECTION_LIMITS, get_args(State)):
            self._evicted.labels(limit, state)
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
        """Adds the gauge of a queue; `length` is called at each scrape."""
        self._queues.labels(name).set_function(length)

    def watch_connections(self, limits: ConnectionLimits) -> None:
        """Adds the gauges of connections; `limits` is read at each scrape."""
        self._connections.set_function(lambda: limits.open)
        self._nameless.set_function(lambda: limits.nameless)

    def watch_lists(self, not_made: Callable[[], int], seconds_left: Callable[[], float]) -> None:
        """Adds the gauges of revocation lists: how many cannot be made, and how long the first of them lasts.
        Both are called at each scrape."""
        name = "vanadium_cluster_agent_revocation_lists_not_made"
        text = "Issuers whose current revocation list cannot be made; the log names them."
        Gauge(name, text, registry=self.registry).set_function(not_made)
        name = "vanadium_cluster_agent_revocation_lists_seconds_left"
        text = "Until the first of the current revocation lists ends; infinite without lists."
        Gauge(name, text, registry=self.registry).set_function(seconds_left)

    def watch_audit(self, broken: Callable[[], int]) -> None:
        """Adds the gauge of broken chains of the audit; `broken` is called at each scrape."""
        name = "vanadium_cluster_agent_audit_chains_broken"
        text = (
            "Chains of the audit in which the database does not have what this process last wrote, since its "
            "start; the log names them."
        )
        Gauge(name, text, registry=self.registry).set_function(broken)

    def watch_publications(self, publications: Publications) -> None:
        """Adds the gauges of publications, which follow `publications`."""
        ratio = Gauge(
            "vanadium_cluster_agent_acknowledged_ratio",
            "Share of the live replicas that have what they should have of a publication, 0 to 1.",
            ["kind"],
            registry=self.registry,
        )
        version = Gauge(
            "vanadium_cluster_agent_published_version",
            "The current version of a publication.",
            ["kind"],
            registry=self.registry,
        )
        shares = publications.shares
        for kind, one in publications.by_kind.items():
            ratio.labels(kind).set_function(lambda kind=kind: shares[kind].ratio)  # type: ignore[misc]
            version.labels(kind).set_function(partial(getattr, one, "version"))

    def turned_away(self, limit: Limit, evicted: State | None = None) -> None:
        """Counts a connection that was closed at once, or an open one, in that state, that was ended for
        it."""
        self._turned_away.inc()
        self._by_limit.labels(limit).inc()
        if evicted is not None:
            self._evicted.labels(limit, evicted).inc()

    def issued(self, seconds: float | None) -> None:
        """Counts a blessing, with the duration of its call; None for a PodCertificateRequest."""
        self._issued.inc()
        if seconds is not None:
            self._results.labels("issued", "").inc()
            self._seconds.observe(seconds)

    def refused(self, path: str, refusal: Refusal) -> None:
        """Counts a call that was answered with `refusal`."""
        self._refused.labels(path, refusal.reason).inc()
        if isinstance(refusal, TooManyRequests):
            self._by_limit.labels(refusal.limit).inc()
        if path == SEEK_BLESSINGS:
            self._results.labels(RESULTS.get(refusal.status, "refused"), refusal.reason).inc()

    def report(self, secret: Secret, refusal: Refusal) -> None:
        """Counts a misused bootstrap credential."""
        self._tripwires.labels(secret.application.namespace, refusal.reason).inc()


class StageMetrics:
    """The durations of the stages of issuing, whether they succeeded or were refused."""

    def __init__(self, registry: CollectorRegistry) -> None:
        seconds = Histogram(
            "vanadium_cluster_agent_stage_seconds",
            "Time that a stage of SeekBlessings or a PodCertificateRequest took, refused ones included: "
            "entitlement (what the store knows), attestation, signing, store (the durable record).",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._by_stage = {stage: seconds.labels(stage) for stage in get_args(Stage)}

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        return self._by_stage[stage].time()

    def is_for(self, application: Application) -> None:
        """Does nothing: applications come and go, and each would be a series of its own."""

    def issued(self, name: Name) -> None:
        """Does nothing: the answer is counted elsewhere."""


class FleetMetrics:
    """The number of live replicas, and how long they would stay live without the cluster agent.

    The replica of the agent that leads counts them; the other replicas show nothing.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # A gauge without labels would show 0 where it should be absent.
        self._live = Gauge(
            "vanadium_cluster_agent_live_replicas",
            "Pods whose last certificate has neither ended nor been revoked.",
            ["counted"],
            registry=registry,
        )
        self._budget = Gauge(
            "vanadium_cluster_agent_outage_budget_seconds",
            "If the cluster agent went away now: seconds until that share of the live replicas has no "
            "valid certificate.",
            ["share"],
            registry=registry,
        )

    def show(self, lives: Sequence[tuple[int, int]] | None) -> None:
        """Shows these lives; with None, shows nothing."""
        self._live.clear()
        self._budget.clear()
        if lives is None:
            return
        self._live.labels("by-leader").set(sum(count for _, count in lives))
        if lives:
            for name, share in _SHARES.items():
                self._budget.labels(name).set(outage_budget(lives, share))


def outage_budget(lives: Sequence[tuple[int, int]], share: float) -> int:
    """The seconds without the cluster agent after which that share of the replicas has no valid certificate.

    `lives` is as the store counts them. For the share 0 it is the first replica; without replicas the result
    is 0.
    """
    wanted = max(1, math.ceil(share * sum(count for _, count in lives)))
    ended = 0
    for left, count in lives:
        ended += count
        if ended >= wanted:
            return left
    return 0


class MountedMetrics:
    """What happened to the files in --issuing-directory."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._results = Counter(
            "vanadium_cluster_agent_mounted_issuers",
            "Changes of the files in --issuing-directory, by what became of them: taken, or why not.",
            ["result"],
            registry=registry,
        )
        self._refused = Gauge(
            "vanadium_cluster_agent_mounted_issuer_refused",
            "1 while the files in --issuing-directory are refused, and what was there before signs.",
            registry=registry,
        )

    def note(self, result: str) -> None:
        """Counts `taken`, `back`, or the reason of a refusal."""
        self._results.labels(result).inc()
        self._refused.set(result not in (TAKEN, BACK))


class SpanMetrics:
    """The spans of traces, by what happened to them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._spans = Counter(
            "vanadium_cluster_agent_trace_spans",
            "Spans that were recorded: exported, failed (the receiver did not take them), or dropped (too "
            "many waited for it).",
            ["result"],
            registry=registry,
        )
        for result in ("exported", "failed", "dropped"):
            self._spans.labels(result)

    def count(self, result: str, number: int = 1) -> None:
        self._spans.labels(result).inc(number)
