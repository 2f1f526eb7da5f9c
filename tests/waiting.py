"""Waiting for what another process or task does: the one way in which tests do it.

A test looks again and again, sooner at first, and fails with what it waited for and what there is to know.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")
# Long enough for a machine that does ten other things: what takes longer is broken.
PATIENCE_SECONDS = 120
# For what a cluster does: many programs take part in each step, and a controller or a kubelet that failed
# pauses for longer each time.
CLUSTER_PATIENCE_SECONDS = 600
_FIRST_PAUSE = 0.01
# A look may be a whole program, such as kubectl, which takes the processor from what is waited for.
_LONGEST_PAUSE = 0.5


def wait_for(
    what: str,
    check: Callable[[], _T],
    seconds: float = PATIENCE_SECONDS,
    story: Callable[[], str] = lambda: "",
    *,
    not_yet: tuple[type[Exception], ...] = (),
) -> _T:
    """The answer of `check` once it is true; an exception of `not_yet` counts as no. Fails with the story."""
    problem: Exception | None = None
    for pause in _pauses(seconds):
        try:
            if found := check():
                return found
        except not_yet as error:
            problem = error
        time.sleep(pause)
    raise _too_late(what, seconds, story, problem)


async def until(
    what: str,
    check: Callable[[], Awaitable[object] | object],
    seconds: float = PATIENCE_SECONDS,
    story: Callable[[], str] = lambda: "",
) -> None:
    """Returns once `check`, which may be a coroutine function, answers with something true. Other tasks of
    the event loop run meanwhile."""
    for pause in _pauses(seconds):
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        await asyncio.sleep(pause)
    raise _too_late(what, seconds, story, None)


def _pauses(seconds: float) -> Iterator[float]:
    """How long to pause after each look; the last look is after all of the time."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while (left := deadline - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.3, _LONGEST_PAUSE)
    yield 0


def _too_late(
    what: str, seconds: float, story: Callable[[], str], problem: Exception | None
) -> AssertionError:
    last = f" (at last: {problem!r})" if problem else ""
    return AssertionError(f"{what}: not within {seconds:g} s{last}\n{story()}")
