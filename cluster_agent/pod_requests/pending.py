"""The requests without an answer: bounded, and shared fairly by namespaces, service accounts and pods.

At most MOST are known. When there are more, the namespace with most of them gives way; what is forgotten so
comes back with the next list. One namespace has at most half of the turns at once, so that another one does
not wait until its slow answers end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from cluster_agent.fair_queue import FairQueue
from cluster_agent.pod_requests.request import PodRequest

MOST = 20_000


@dataclass
class One:
    """A request without an answer. `failures` in a row put it off; `seen_at` is a monotonic time, in
    seconds."""

    request: PodRequest
    seen_at: float
    failures: int = 0
    timer: asyncio.TimerHandle | None = None


class Pending:
    """The known requests, by UID. For one event loop."""

    def __init__(self, at_a_time: int, most: int = MOST) -> None:
        self._most = most
        self._most_of_one = max(1, at_a_time // 2)
        self._known: dict[str, dict[str, One]] = {}
        self._queue: FairQueue[One] = FairQueue(2 * most)
        self._under_way: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def oldest_seconds(self) -> float:
        """How long the request that waits longest has waited; 0 when none does."""
        # A scrape may be in another thread.
        seen = [one.seen_at for some in tuple(self._known.values()) for one in tuple(some.values())]
        return time.monotonic() - min(seen) if seen else 0.0

    def see(self, request: PodRequest) -> None:
        """Adds a request, or notes that one has changed."""
        some = self._known.get(request.namespace, {})
        known = some.get(request.uid)
        if known is not None:
            known.request = request
            return
        if self._count >= self._most and not self._make_room(len(some)):
            return
        one = One(request, time.monotonic())
        self._known.setdefault(request.namespace, {})[request.uid] = one
        self._count += 1
        self._put(one)

    def forget(self, namespace: str, uid: str) -> None:
        """Removes a request that has its answer, or is gone."""
        some = self._known.get(namespace, {})
        one = some.pop(uid, None)
        if one is None:
            return
        self._count -= 1
        if not some:
            del self._known[namespace]
        if one.timer is not None:
            one.timer.cancel()
        self._queue.remove(one, one.request.tenant)

    def keep_only(self, uids: Collection[str]) -> None:
        """Removes the requests that a complete list does not have."""
        gone = [one.request for some in self._known.values() for one in some.values()]
        for request in gone:
            if request.uid not in uids:
                self.forget(request.namespace, request.uid)

    async def take(self) -> One:
        """The next request that has a turn. Call `end_turn` after it."""
        while True:
            one = self._queue.take(lambda namespace: self._under_way[namespace] < self._most_of_one)
            if one is not None:
                self._under_way[one.request.namespace] += 1
                return one
            self._wake.clear()
            await self._wake.wait()

    def end_turn(self, one: One) -> None:
        namespace = one.request.namespace
        self._under_way[namespace] -= 1
        if not self._under_way[namespace]:
            del self._under_way[namespace]
        self._wake.set()

    def put_off(self, one: One, seconds: float) -> None:
        """Gives the request another turn after that time, if it is still known then."""
        if self._is_known(one):
            one.timer = asyncio.get_running_loop().call_later(seconds, self._again, one)

    def _again(self, one: One) -> None:
        one.timer = None
        if self._is_known(one):
            self._put(one)

    def _is_known(self, one: One) -> bool:
        return self._known.get(one.request.namespace, {}).get(one.request.uid) is one

    def _put(self, one: One) -> None:
        self._queue.put(one, one.request.tenant)
        self._wake.set()

    def _make_room(self, has: int) -> bool:
        """Forgets the youngest request of the namespace that has most, unless that is the newcomer's."""
        largest = max(self._known, key=lambda namespace: len(self._known[namespace]))
        if has >= len(self._known[largest]):
            return False
        self.forget(largest, next(reversed(self._known[largest])))
        return True
