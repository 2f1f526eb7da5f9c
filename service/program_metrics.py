"""The metrics that each program has, in a registry of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.program_families import program_families
from service.supervisor import Supervisor

_KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class ProgramMetrics(Collector):
    """Those of `program_families`, read at each scrape."""

    def __init__(self, registry: CollectorRegistry, program: str, supervisor: Supervisor) -> None:
        """`program` is the middle part of the series' names, such as `cluster_agent`."""
        self._program = program
        self._supervisor = supervisor
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        for family in program_families(self._program, self._supervisor):
            metric = _KINDS[family.kind](family.name, family.meaning, labels=family.labels)
            for labels, value in family.samples.items():
                metric.add_metric(labels, value)
            yield metric
