"""The metrics of background tasks."""

from __future__ import annotations

from service.exposition import Family
from service.supervisor import Supervisor


def task_families(program: str, supervisor: Supervisor) -> list[Family]:
    """The current state of the tasks; `program` is the middle part of the series' names, such as
    `cluster_agent`."""
    prefix, records = f"vanadium_{program}_task", supervisor.records
    return [
        Family(
            f"{prefix}_failures_total",
            "counter",
            "Rounds of background tasks that failed, by task.",
            ("task",),
            {(name,): record.failures for name, record in records.items()},
        ),
        Family(
            f"{prefix}_seconds_since_success",
            "gauge",
            "Since the last good round of a background task; before one, since the start.",
            ("task",),
            {(name,): supervisor.seconds_since_success(name) for name in records},
        ),
        Family(
            f"{prefix}_overdue_seconds",
            "gauge",
            "How long a good round of a background task has been due; 0 between rounds.",
            ("task",),
            {(name,): supervisor.overdue_seconds(name) for name in records},
        ),
    ]
