"""The watchdog: ends the process when its event loop no longer turns, and the kubelet starts another.

A liveness probe would notice the same, but would start a program in the container every few seconds, for as
long as the Pod lives. Here a thread of the interpreter waits, and leaves a traceback of what did not end.
"""

from __future__ import annotations

import faulthandler
import os

from service.supervisor import Task

# As long as three failed liveness probes in a row, ten seconds apart.
SECONDS = 30.0


def task(seconds: float = SECONDS) -> Task:
    """Puts off the end of the process again and again. `seconds` without it are the end."""
    log = _log_that_never_waits()

    async def put_off() -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=log)

    return Task("watchdog", put_off, period=seconds / 3, failure="watchdog not put off")


def _log_that_never_waits() -> int:
    """Standard error, opened once more: while nobody reads it, the traceback is lost, and the process still
    ends."""
    try:
        return os.open("/proc/self/fd/2", os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # a socket, or a terminal of another user
        return 2
