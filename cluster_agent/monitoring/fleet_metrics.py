"""What Prometheus sees of the fleet: how many replicas live, and for how long they would without us."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge

from cluster_agent.store import Store

SHARES = {"first": 0.0, "0.1": 0.1, "0.5": 0.5, "0.9": 0.9}


def outage_budget(lives: Sequence[tuple[int, int]], share: float) -> int:
    """After how many seconds without the cluster agent that share of the replicas has no valid certificate,
    of `lives` as the store counts them; for 0 the first one. 0 when there are none."""
    wanted = max(1, math.ceil(share * sum(count for _, count in lives)))
    ended = 0
    for left, count in lives:
        ended += count
        if ended >= wanted:
            return left
    return 0


class FleetMetrics:
    """Counted by the replica of the agent that leads; the others show nothing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Without a label, a gauge would say 0 where it should say nothing.
        self._live = Gauge(
            "vanadium_cluster_agent_live_replicas",
            "Pods whose last certificate has neither ended nor been revoked.",
            ["counted"],
            registry=registry,
        )
        self._budget = Gauge(
            "vanadium_cluster_agent_outage_budget_seconds",
            "If the cluster agent went away now: seconds until that share of the live replicas has no "
            "certificate any more.",
            ["share"],
            registry=registry,
        )

    def show(self, lives: Sequence[tuple[int, int]] | None) -> None:
        """None shows nothing."""
        self._live.clear()
        self._budget.clear()
        if lives is None:
            return
        self._live.labels("by-leader").set(sum(count for _, count in lives))
        if lives:
            for name, share in SHARES.items():
                self._budget.labels(name).set(outage_budget(lives, share))


def counting_fleet(
    store: Store, metrics: FleetMetrics, now: Callable[[], datetime]
) -> Callable[[], Awaitable[None]]:
    async def count() -> None:
        try:
            metrics.show(await store.fleet.lives(now()) if await store.lead() else None)
        except Exception:
            # Better nothing than what is no longer so.
            metrics.show(None)
            raise

    return count
