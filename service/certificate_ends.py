"""The metric of how long a program's certificates last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class CertificateEnds(Collector):
    """The gauge of the seconds until each certificate ends."""

    def __init__(
        self,
        registry: CollectorRegistry,
        program: str,
        ends: Callable[[], Mapping[str, datetime]],
        now: Callable[[], datetime],
    ) -> None:
        """`program` is the middle part of the series' name, such as `cluster_agent`. `ends` is called at each
        scrape, because certificates come and go."""
        self._program = program
        self._ends = ends
        self._now = now
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        gauge = GaugeMetricFamily(
            f"vanadium_{self._program}_certificate_seconds_left",
            "Until a certificate ends, by what it is for.",
            labels=["certificate"],
        )
        now = self._now()
        for name, end in self._ends().items():
            gauge.add_metric([name], (end - now).total_seconds())
        yield gauge
