"""Gathers what arrives while the database is busy, and hands it over at once.

One commit, which waits for the disk and costs the processor as much as ten issuances, then stands for many of
them. Nobody waits longer for it than for the commit before, a pause, and their own; and the pause only while
more than one come at a time (as PostgreSQL's commit_siblings has it), and a longer one the more they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from cluster_agent.errors import TooManyRequests

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

MOST_AT_ONCE = 128
_MOST_WAITING = 512
# What a call may wait for others when the program is busy. Where it is, calls take several times that.
_PAUSE_SECONDS_EACH = 0.005
_LONGEST_PAUSE_SECONDS = 0.05


def pause_seconds(last: int) -> float:
    """How long to wait for more, when the last were so many."""
    return min(last * _PAUSE_SECONDS_EACH, _LONGEST_PAUSE_SECONDS)


class Batches(Generic[_Item, _Outcome]):
    """A bounded queue before `work`, which takes many items and answers an outcome for each, in order.

    `pause` is waited for before the next items are taken, when the last were more than one; it is told how
    many they were.
    """

    def __init__(
        self,
        executor: Executor,
        work: Callable[[Sequence[_Item]], Sequence[_Outcome]],
        *,
        most_waiting: int = _MOST_WAITING,
        pause: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._executor = executor
        self._work = work
        self._most_waiting = most_waiting
        self._pause = pause
        self._last = 0
        self._waiting: deque[tuple[_Item, asyncio.Future[_Outcome]]] = deque()
        self._draining: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def submit(self, item: _Item) -> _Outcome:
        """The outcome of `item`. Raises TooManyRequests when too many wait, and whatever `work` raised."""
        if len(self._waiting) >= self._most_waiting:
            raise TooManyRequests(
                "StoreBusy", f"{self._most_waiting} calls wait for the store; try again", limit="store-queue"
            )
        future: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def idle(self) -> None:
        """Returns when nothing is under way."""
        while self._draining is not None and not self._draining.done():
            await asyncio.wait([self._draining])

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._pause is not None and self._last > 1 and len(self._waiting) < MOST_AT_ONCE:
                await self._pause(self._last)
            batch = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            self._last = len(batch)
            done = loop.run_in_executor(self._executor, self._work, [item for item, _ in batch])
            await asyncio.wait([done])
            error = done.exception()
            outcomes = [] if error else done.result()
            for position, (_, future) in enumerate(batch):
                # Who does not wait any more has no use for the outcome.
                if future.done():
                    continue
                if error:
                    future.set_exception(error)
                else:
                    future.set_result(outcomes[position])
