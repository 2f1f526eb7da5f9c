"""The metrics that each program has: of its background tasks, and of its log."""

from __future__ import annotations

from service.exposition import Family, counter
from service.log_stream import STANDARD_ERROR
from service.supervisor import Supervisor


def program_families(program: str, supervisor: Supervisor) -> list[Family]:
    """Their current values. `program` is the middle part of the series' names, such as `cluster_agent`."""
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
        counter(
            f"vanadium_{program}_log_lines_lost_total",
            "Lines of the log that could not be written, because nobody read standard error in time.",
            STANDARD_ERROR.lost,
        ),
    ]
