"""Lines of the log that clients cause: one that is refused a thousand times a second must not fill a disk.

Of each kind some lines are written at once, and then a few a second; the next line states how many were left
out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from service.log import Line
from service.token_bucket import TokenBucket

AT_ONCE = 20
PER_SECOND = 1.0
# Texts of libraries that contain a client's input would be a kind each; further kinds are counted as one.
_MOST_KINDS = 200
_OTHERS = ""


class LineRate:
    """One token bucket per kind of line."""

    def __init__(
        self,
        *,
        at_once: int = AT_ONCE,
        per_second: float = PER_SECOND,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._monotonic = monotonic
        self._buckets: dict[str, TokenBucket] = {}
        self._left_out: dict[str, int] = {}

    def take(self, kind: str) -> int | None:
        """How many lines of that kind were left out since the last one; None when this one is left out
        too."""
        now = self._monotonic()
        if kind not in self._buckets and len(self._buckets) >= _MOST_KINDS:
            self._buckets = {of: one for of, one in self._buckets.items() if not one.is_full(now)}
            self._left_out = {of: lines for of, lines in self._left_out.items() if of in self._buckets}
            if len(self._buckets) >= _MOST_KINDS:
                kind = _OTHERS
        if kind not in self._buckets:
            self._buckets[kind] = TokenBucket.full(self._per_second, self._at_once, now)
        if self._buckets[kind].take(now):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return None
        return self._left_out.pop(kind, 0)


class BoundedLog:
    """Writes warnings and errors to `log`, at most at that rate for each kind."""

    def __init__(self, log: Any, rate: LineRate | None = None) -> None:
        self._log = log
        self._rate = rate or LineRate()

    def warning(self, event: str, *, kind: str = "", **values: object) -> None:
        """Writes a line, whose kind is the event and `kind`."""
        self._write(self._log.warning, event, kind, values)

    def error(self, event: str, *, kind: str = "", **values: object) -> None:
        """The same for an error."""
        self._write(self._log.error, event, kind, values)

    def _write(self, write: Callable[..., object], event: str, kind: str, values: dict[str, object]) -> None:
        left_out = self._rate.take(f"{event} {kind}")
        if left_out is not None:
            more = {"leftOut": left_out} if left_out else {}
            write(event, **values, **more)


class BoundedLines(logging.Filter):
    """The lines of libraries, at most at that rate for each text: what they log about one request, a client
    can cause as often as it likes. Our own lines pass."""

    def __init__(self, rate: LineRate | None = None) -> None:
        super().__init__()
        self._rate = rate or LineRate()

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, Line):
            return True
        left_out = self._rate.take(f"{record.name} {record.levelname} {record.msg}")
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more such lines were left out)"
            record.args = None
        return left_out is not None
