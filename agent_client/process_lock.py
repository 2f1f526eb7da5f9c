"""A lock that is free in a process that was forked while a thread of its parent held it.

That thread is not in the child, where nobody would release the lock: the child's first use would wait for
ever. What such a lock guards must be usable at any moment of a change, since a fork may be at any.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from weakref import WeakSet


class ProcessLock:
    """As threading.Lock, in a `with`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
        self._lock.release()

    def renew(self) -> None:
        """In the child, before it has threads. The thread that forked goes on, and releases its own."""
        if self._owner != threading.get_ident():
            self._lock = threading.Lock()


_LOCKS: WeakSet[ProcessLock] = WeakSet()


def _in_child() -> None:
    for lock in list(_LOCKS):
        lock.renew()


os.register_at_fork(after_in_child=_in_child)
