"""Batches: collects the items that arrive while the database is busy, and processes them together.

A commit waits for the disk and costs as much processor time as ten issuances, so one commit for many items
saves most of it. A call waits for the previous commit, a pause, and its own commit. There is a pause only
while several items arrive at once (like PostgreSQL's commit_siblings), and it grows with their number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from cluster_agent.errors import TooManyRequests
from cluster_agent.fair_queue import FairQueue, Tenant

_Item = TypeVar("_Item")
_Outcome = TypeVar("_Outcome")

MOST_AT_ONCE = 128
_MOST_WAITING = 512
# The pause of a busy program, per item. Calls take several times that then.
_PAUSE_SECONDS_EACH = 0.005
_LONGEST_PAUSE_SECONDS = 0.05


def pause_seconds(last: int) -> float:
    """How long to wait for more items, when the last batch had that many."""
    return min(last * _PAUSE_SECONDS_EACH, _LONGEST_PAUSE_SECONDS)


class Batches(Generic[_Item, _Outcome]):
    """A bounded queue, shared fairly by tenants, in front of `work`, which processes many items and returns
    an outcome for each, in order.

    When the last batch had more than one item, `pause` gives the time to wait before the next; its argument
    is the number of items in the last batch.
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
        self._pause = pause
        self._last = 0
        self._waiting: FairQueue[tuple[_Item, asyncio.Future[_Outcome]]] = FairQueue(most_waiting)
        self._draining: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def submit(self, item: _Item, tenant: Tenant = ()) -> _Outcome:
        """The outcome of `item`, which waits for `tenant`. Raises TooManyRequests when too many items wait,
        and any error of `work`."""
        future: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        yielding = self._waiting.put((item, future), tenant)
        if yielding is not None and not yielding[1].done():
            yielding[1].set_exception(
                TooManyRequests(
                    "StoreBusy",
                    f"{len(self._waiting)} calls wait for the store; try again",
                    limit="store-queue",
                )
            )
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def idle(self) -> None:
        """Waits until no item is being processed."""
        while self._draining is not None and not self._draining.done():
            await asyncio.wait([self._draining])

    def _next(self) -> list[tuple[_Item, asyncio.Future[_Outcome]]]:
        batch: list[tuple[_Item, asyncio.Future[_Outcome]]] = []
        while len(batch) < MOST_AT_ONCE and (waiting := self._waiting.take()) is not None:
            batch.append(waiting)
        return batch

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._pause is not None and self._last > 1 and len(self._waiting) < MOST_AT_ONCE:
                await self._pause(self._last)
            batch = self._next()
            self._last = len(batch)
            done = loop.run_in_executor(self._executor, self._work, [item for item, _ in batch])
            await asyncio.wait([done])
            error = done.exception()
            outcomes = [] if error else done.result()
            for position, (_, future) in enumerate(batch):
                # The caller no longer waits for this outcome.
                if future.done():
                    continue
                if error:
                    future.set_exception(error)
                else:
                    future.set_result(outcomes[position])
