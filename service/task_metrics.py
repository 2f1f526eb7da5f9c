"""The metrics of background tasks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.supervisor import Supervisor


class TaskMetrics(Collector):
    """The tasks' metrics, read from the supervisor at each scrape."""

    def __init__(self, registry: CollectorRegistry, program: str, supervisor: Supervisor) -> None:
        """`program` is the middle part of the series' names, such as `cluster_agent`."""
        self._program = program
        self._supervisor = supervisor
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            f"vanadium_{self._program}_task_failures",
            "Rounds of background tasks that failed, by task.",
            labels=["task"],
        )
        silent = GaugeMetricFamily(
            f"vanadium_{self._program}_task_seconds_since_success",
            "Since the last good round of a background task; before one, since the start.",
            labels=["task"],
        )
        overdue = GaugeMetricFamily(
            f"vanadium_{self._program}_task_overdue_seconds",
            "How long a good round of a background task has been due; 0 between rounds.",
            labels=["task"],
        )
        for name, record in self._supervisor.records.items():
            failures.add_metric([name], record.failures)
            silent.add_metric([name], self._supervisor.seconds_since_success(name))
            overdue.add_metric([name], self._supervisor.overdue_seconds(name))
        yield from (failures, silent, overdue)
