"""A listener with a limit: how many connections it has at once, and which one ends when there is one more.

The oldest idle connection of the address that has most of them makes room, so that connections which are only
held open keep out neither a client nor the kubelet's probes. When all are busy, the new one is closed, or,
where clients need only moments, the oldest one is. All connections of a Unix socket have one address: the
Pod's.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from service.acceptor import Acceptor
from service.addresses import network_of
from service.bounded_log import BoundedLog, LineRate
from service.log import get_logger

_LINES_PER_SECOND = 1 / 60

_log = get_logger("pod_agent")


class Served(asyncio.Protocol):
    """The protocol of one connection of a listener."""

    @property
    def is_busy(self) -> bool:
        """Whether it does something for its client."""
        return False

    def end(self) -> None:
        """Ends the connection when what it does for its client is done, or told to be over."""


class BoundedListener:
    """Accepts at most `most` connections at once on `listening`; a supervisor runs the acceptor's task, which
    has that `name`.

    `make` makes the protocol of one connection. With `brief`, even a busy connection makes room.
    """

    def __init__(
        self,
        name: str,
        listening: socket.socket,
        most: int,
        make: Callable[[], Served],
        *,
        brief: bool = False,
    ) -> None:
        self._listening = listening
        self._most = most
        self._make = make
        self._brief = brief
        self._emptied = asyncio.Event()
        # A dict, because it keeps the order: oldest first.
        self._open: dict[_Connection, None] = {}
        self._beginning: set[asyncio.Task[None]] = set()
        self.acceptor = Acceptor(name, listening, self._admit)
        self._log = BoundedLog(_log, LineRate(at_once=1, per_second=_LINES_PER_SECOND))
        # Connections that were closed because of the limit.
        self.refused = 0

    @property
    def open(self) -> int:
        return len(self._open)

    async def stop(self) -> None:
        """Accepts no more connections. Those that are open stay."""
        await self.acceptor.stop()
        await asyncio.gather(*self._beginning, return_exceptions=True)
        self._listening.close()

    async def end_all(self, seconds: float) -> None:
        """Ends all connections, each after what it is doing for its client, at most in so many seconds."""
        for connection in list(self._open):
            if connection.transport is not None:
                connection.protocol.end()
        if self._open:
            self._emptied.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._emptied.wait()
        for connection in list(self._open):
            connection.abort()

    def _admit(self, accepted: socket.socket, client: Any) -> None:
        address = network_of(client[0]) if client else ""
        if len(self._open) >= self._most:
            self.refused += 1
            name = self._listening.getsockname()
            self._log.warning(
                "too many connections",
                listener=name if isinstance(name, str) else f"port {name[1]}",
                most=self._most,
                refused=self.refused,
            )
            unneeded = self._unneeded()
            if unneeded is None:
                accepted.close()
                return
            del self._open[unneeded]
            unneeded.abort()
        connection = _Connection(self._make(), address, self._ended)
        self._open[connection] = None
        task = asyncio.create_task(self._begin(accepted, connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, connection: _Connection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError:
            accepted.close()
            self._ended(connection)

    def _unneeded(self) -> _Connection | None:
        made = [one for one in self._open if one.transport is not None]
        idle = [one for one in made if not one.protocol.is_busy]
        candidates = idle or (made if self._brief else [])
        held = Counter(one.address for one in candidates)
        most = max(held.values(), default=0)
        return next((one for one in candidates if held[one.address] == most), None)

    def _ended(self, connection: _Connection) -> None:
        self._open.pop(connection, None)
        if not self._open:
            self._emptied.set()


class _Connection(asyncio.Protocol):
    """One connection, whose `protocol` does everything."""

    def __init__(self, protocol: Served, address: str, ended: Callable[[_Connection], None]) -> None:
        self.protocol = protocol
        self.address = address
        self.transport: asyncio.Transport | None = None
        self._notify = ended
        self.data_received = protocol.data_received  # type: ignore[method-assign]  # nothing between them
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.protocol.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._notify(self)
        self.protocol.connection_lost(error)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
