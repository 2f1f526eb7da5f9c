"""The watchdog: ends the process when its event loop no longer turns, and the kubelet starts another.

A liveness probe would notice the same, but would start a program in the container every few seconds, for as
long as the Pod lives. Here a thread of the interpreter waits, and leaves a traceback of what did not end.
"""

from __future__ import annotations

import faulthandler

from service.supervisor import Task

# As long as three failed liveness probes in a row, ten seconds apart.
SECONDS = 30.0


def task(seconds: float = SECONDS) -> Task:
    """Puts off the end of the process again and again. `seconds` without it are the end."""

    async def put_off() -> None:
        faulthandler.dump_traceback_later(seconds, exit=True)

    return Task("watchdog", put_off, period=seconds / 3, failure="watchdog not put off")
