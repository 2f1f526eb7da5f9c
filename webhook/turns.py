"""Large bodies, answered one in a turn of the event loop, so that small ones never wait for more than one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Work: TypeAlias = Callable[[], None]


class Turns:
    """Calls what it is given, later, one in a turn of the event loop; first what is for API servers."""

    def __init__(self) -> None:
        self._for_api_servers: deque[Work] = deque()
        self._for_others: deque[Work] = deque()

    def add(self, work: Work, *, for_api_server: bool) -> None:
        if not self._for_api_servers and not self._for_others:
            asyncio.get_running_loop().call_soon(self._next)
        (self._for_api_servers if for_api_server else self._for_others).append(work)

    def _next(self) -> None:
        work = (self._for_api_servers or self._for_others).popleft()
        # Before the call, which must not end the turns by an error.
        if self._for_api_servers or self._for_others:
            asyncio.get_running_loop().call_soon(self._next)
        work()
