"""A short cache: values that were read within the last second, valid until this process writes anything.

It is only for values that are checked again in the transaction that uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

RECENT_SECONDS = 1.0
_MOST = 1024

_Value = TypeVar("_Value")


class RecentlyRead(Generic[_Value]):
    """Values by key. `monotonic` is a clock in seconds; `writes` counts what this process has written."""

    def __init__(self, monotonic: Callable[[], float], writes: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._writes = writes
        self._values: dict[str, _Value] = {}
        self._of = (writes(), monotonic())

    def get(self, key: str) -> _Value | None:
        """The value; None when it must be read."""
        writes, since = self._of
        if writes != self._writes() or not 0 <= self._monotonic() - since < RECENT_SECONDS:
            return None
        return self._values.get(key)

    def keep(self, key: str, value: _Value, *, writes: int, at: float) -> None:
        """Keeps a value that was read at the time `at`, when this process had made `writes` writes."""
        if writes != self._writes():
            return
        if self._of[0] != writes or at - self._of[1] >= RECENT_SECONDS or len(self._values) >= _MOST:
            self._values.clear()
            self._of = (writes, at)
        self._values[key] = value
