"""The metrics of JWT-SVIDs. Refusals are counted with those of every route, by path and reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cluster_agent.jwt.key_keeper import JwtKeyKeeper

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class JwtMetrics:
    """Counts JWT-SVIDs, and shows the state of `keeper`."""

    def __init__(
        self, registry: CollectorRegistry, keeper: JwtKeyKeeper, now: Callable[[], datetime]
    ) -> None:
        self._issued = Counter(
            "vanadium_cluster_agent_jwt_svids_issued", "JWT-SVIDs issued.", registry=registry
        )
        self._seconds = Histogram(
            "vanadium_cluster_agent_jwt_svid_seconds",
            "Time from a request for a JWT-SVID read to its answer, for those issued.",
            buckets=_SECONDS,
            registry=registry,
        )
        Gauge(
            "vanadium_cluster_agent_jwt_key_age_seconds",
            "How long the current key has been signing JWT-SVIDs.",
            registry=registry,
        ).set_function(lambda: (now() - keeper.active_since).total_seconds())

    def issued(self, seconds: float) -> None:
        """Counts a JWT-SVID, with the duration of its call."""
        self._issued.inc()
        self._seconds.observe(seconds)
