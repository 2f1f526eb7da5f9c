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
from typing import Any, Generic, TypeVar, cast

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.acceptor import Acceptor
from service.addresses import network_of
from service.bounded_log import BoundedLog, LineRate
from service.listening import Server
from service.shared_answers import ending

_LINES_PER_SECOND = 1 / 60

_log = structlog.get_logger("pod_agent")
_P = TypeVar("_P", bound=asyncio.Protocol)


class BoundedListener(Generic[_P]):
    """Accepts at most `most` connections at once on `listening`; a supervisor runs the acceptor's task, which
    has that `name`.

    `make` makes the protocol of one connection, and `is_busy` returns whether it does something for its
    client. With `brief`, even a busy connection makes room. `end` ends one at the program's end.
    """

    def __init__(
        self,
        name: str,
        listening: socket.socket,
        most: int,
        make: Callable[[], _P],
        is_busy: Callable[[_P], bool],
        *,
        brief: bool = False,
        end: Callable[[_P], None] | None = None,
    ) -> None:
        self._listening = listening
        self._most = most
        self._make = make
        self._is_busy = is_busy
        self._brief = brief
        self._end = end
        # A dict, because it keeps the order: oldest first.
        self._open: dict[_Connection[_P], None] = {}
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

    def end_all(self) -> None:
        """Ends all connections, after what was written to them."""
        for connection in list(self._open):
            if connection.transport is None:
                continue
            if self._end is None:
                connection.transport.close()
            else:
                self._end(connection.protocol)

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

    async def _begin(self, accepted: socket.socket, connection: _Connection[_P]) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError:
            accepted.close()
            self._ended(connection)

    def _unneeded(self) -> _Connection[_P] | None:
        made = [one for one in self._open if one.transport is not None]
        idle = [one for one in made if not self._is_busy(one.protocol)]
        candidates = idle or (made if self._brief else [])
        held = Counter(one.address for one in candidates)
        most = max(held.values(), default=0)
        return next((one for one in candidates if held[one.address] == most), None)

    def _ended(self, connection: _Connection[_P]) -> None:
        self._open.pop(connection, None)


class _Connection(asyncio.Protocol, Generic[_P]):
    """One connection, whose `protocol` does everything."""

    def __init__(self, protocol: _P, address: str, ended: Callable[[_Connection[_P]], None]) -> None:
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


class BoundedServer(Server):
    """An HTTP/1.1 server on one listener, with at most `most` connections. A supervisor runs the task of the
    listener's acceptor."""

    def __init__(
        self, config: uvicorn.Config, name: str, listening: socket.socket, most: int, *, brief: bool
    ) -> None:
        super().__init__(config)
        self.listener = BoundedListener(name, listening, most, self._protocol, _is_answering, brief=brief)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # uvicorn's own list, which stays empty
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.listener.stop()
        await super().shutdown(None)

    def _protocol(self) -> H11Protocol:
        protocol = H11Protocol(self.config, self.server_state, {})
        protocol.app = _ending(protocol.app, lambda: protocol.transport.abort())
        return protocol


def _ending(app: Any, end: Callable[[], None]) -> Any:
    async def with_end(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), **ending(end)}
        await app(scope, receive, send)

    return with_end


def _is_answering(protocol: H11Protocol) -> bool:
    # uvicorn's annotation leaves out that there is no cycle before the first request.
    return protocol.cycle is not None and not protocol.cycle.response_complete
