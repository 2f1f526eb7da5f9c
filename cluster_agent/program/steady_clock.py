"""The clock, compared with the time that has passed.

One that was set ahead, perhaps for seconds, must not make the agent delete what it should keep, or end a root
that replicas still need.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog

# A clock is set back within this time, or it was right.
HELD_SECONDS = 600.0
_AHEAD_SECONDS = 60.0
_log = structlog.get_logger("cluster_agent")


class SteadyClock:
    """`monotonic` is in seconds."""

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._offset = self._measured()
        self._held_until = monotonic()

    def is_steady(self) -> bool:
        """Whether what cannot be taken back may be done by the clock: not for ten minutes after it jumped."""
        offset = self._measured()
        if offset > self._offset + _AHEAD_SECONDS:
            self._held_until = self._monotonic() + HELD_SECONDS
            _log.warning(
                "the clock was set ahead; nothing is removed for now", by=round(offset - self._offset)
            )
        self._offset = offset
        return self._monotonic() >= self._held_until

    def _measured(self) -> float:
        return self._now().timestamp() - self._monotonic()
