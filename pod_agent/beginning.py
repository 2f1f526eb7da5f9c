"""The steps from the start of the process to the first identity, with the time that each took.

started     the process runs, and listens
mounted     the bootstrap credential is read
token       the service account's token is read
connected   TLS with the cluster agent stands
issued      its answer is verified
served      programs of the Pod get it
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from service.exposition import Family
from service.log import get_logger

STEPS = ("started", "mounted", "token", "connected", "issued", "served")
_START_TIME_FIELD = 22  # of /proc/<pid>/stat, proc(5)

_log = get_logger("pod_agent")


class Beginning:
    """Notes when each step was first done, in seconds since the start of the process."""

    def __init__(self, since_start: float) -> None:
        """`since_start` is how long the process has been running now."""
        self._began = time.monotonic() - since_start
        self._done: dict[str, float] = {}

    def done(self, step: str) -> None:
        """Notes the step, unless it was done before. Logs all of them after the last one."""
        if step in self._done:
            return
        self._done[step] = time.monotonic() - self._began
        if step == STEPS[-1]:
            _log.info(
                "first identity",
                milliseconds={name: round(self._done[name] * 1000) for name in STEPS if name in self._done},
            )

    def waits_for(self) -> str | None:
        """The first step that is not done; None once the identity was served."""
        return None if STEPS[-1] in self._done else next(step for step in STEPS if step not in self._done)

    def family(self) -> Family:
        return Family(
            "vanadium_pod_agent_beginning_seconds",
            "gauge",
            "From the start of the process until a step to its first identity was done, by step.",
            ("step",),
            {(step,): seconds for step, seconds in self._done.items()},
        )


def seconds_since_start() -> float:
    """How long this process has been running; 0 where there is no /proc."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[_START_TIME_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, AttributeError):
        return 0.0
