"""The steps from the start of the process to the first identity, with the time that each took.

`service.beginning` lists them, and how the cluster agent is told.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from service.beginning import STEPS, written
from service.exposition import Family
from service.log import get_logger

_START_TIME_FIELD = 22  # of /proc/<pid>/stat, proc(5)

_log = get_logger("pod_agent")


class Beginning:
    """Notes when each step was first done, in seconds since the start of the process."""

    def __init__(self, since_start: float) -> None:
        """`since_start` is how long the process has been running now."""
        self._began = time.monotonic() - since_start
        self._done: dict[str, float] = {}
        self._is_told = False

    def done(self, step: str) -> None:
        """Notes the step, unless it was done before. Logs all of them after the last one."""
        if step in self._done:
            return
        self._done[step] = time.monotonic() - self._began
        if step == STEPS[-1]:
            _log.info("first identity", milliseconds=self._milliseconds())

    def waits_for(self) -> str | None:
        """The first step that is not done; None once the identity was served."""
        return None if STEPS[-1] in self._done else next(step for step in STEPS if step not in self._done)

    def untold(self) -> str | None:
        """What the cluster agent is to be told; None when it was, or when a step is not done."""
        return None if self._is_told else written(self._milliseconds())

    def told(self) -> None:
        """Call it when the cluster agent has answered what `untold` was sent with."""
        self._is_told = True

    def family(self) -> Family:
        return Family(
            "vanadium_pod_agent_beginning_seconds",
            "gauge",
            "From the start of the process until a step to its first identity was done, by step.",
            ("step",),
            {(step,): seconds for step, seconds in self._done.items()},
        )

    def _milliseconds(self) -> dict[str, int]:
        return {step: round(self._done[step] * 1000) for step in STEPS if step in self._done}


def seconds_since_start() -> float:
    """How long this process has been running; 0 where there is no /proc."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[_START_TIME_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, AttributeError):
        return 0.0
