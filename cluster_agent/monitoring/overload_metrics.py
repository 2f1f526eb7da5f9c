"""What Prometheus sees of calls and connections that were too many, by the limit that stood against them."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter

from cluster_agent.errors import Limit, Refusal, TooManyRequests


class OverloadMetrics:
    """The label's values are the limits' own names, none of a caller's choice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._by_limit = Counter(
            "vanadium_cluster_agent_overload",
            "Calls answered with 429, and connections closed at once, by the limit that they were beyond.",
            ["limit"],
            registry=registry,
        )
        for limit in get_args(Limit):
            self._by_limit.labels(limit)

    def beyond(self, limit: Limit) -> None:
        self._by_limit.labels(limit).inc()

    def refused(self, refusal: Refusal) -> None:
        if isinstance(refusal, TooManyRequests):
            self.beyond(refusal.limit)
