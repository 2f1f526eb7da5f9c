"""What Prometheus sees of the certificates that sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from cluster_agent.signing.room import SigningRoom


class AuthorityMetrics(Collector):
    """Read when they are asked for: applications come and go."""

    def __init__(self, registry: CollectorRegistry, room: SigningRoom, now: Callable[[], datetime]) -> None:
        self._room = room
        self._now = now
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "vanadium_cluster_agent_certificate_seconds_left",
            "Until a signing certificate ends: of the identity authority, of the bootstrap authority, and of "
            "each application that was issued for.",
            labels=["certificate"],
        )
        now = self._now()
        for name, life in self._room.lives().items():
            left = life.left(now).total_seconds()
            # An application's is made anew when it is needed; one that ended unused is no alarm.
            if left > 0 or name in self._room.authorities:
                gauge.add_metric([name], left)
        yield gauge
