"""A server that accepts connections within limits, and answers what was begun when it stops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import structlog
import uvicorn

from cluster_agent.errors import Limit
from cluster_agent.server.connection_limits import ConnectionLimits, Place, State
from cluster_agent.server.connections import BoundedProtocol
from service.acceptor import Acceptor
from service.uvicorn_server import Server

DRAIN_SECONDS = 10
# For each client that does not read, the kernel would otherwise take megabytes, which count as ours.
_MOST_UNSENT_BYTES = 128 * 1024

_log = structlog.get_logger(__name__)


class TurnedAway(Protocol):
    """Called for each connection that a limit costs: the newcomer, or the one with that state which was
    ended for it."""

    def __call__(self, limit: Limit, evicted: State | None = None, /) -> None: ...


class AgentServer(Server):
    """Accepts connections on `listening` within `limits`, with TLS unless `context` is None.

    `untrusted` is called with the address and the cause for each client certificate that is not accepted. The
    caller runs the acceptor's task, and handles signals.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        context: ssl.SSLContext | None,
        limits: ConnectionLimits,
        turned_away: TurnedAway,
        untrusted: Callable[[str, str], None],
        *,
        name: str,
        listening: socket.socket,
    ) -> None:
        super().__init__(config)
        self._context = context
        self._limits = limits
        self._turned_away = turned_away
        self._untrusted = untrusted
        self._listening = listening
        self._handshakes: set[asyncio.Task[None]] = set()
        self.acceptor = Acceptor(name, listening, self._admit)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # uvicorn's own list, which stays empty
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.acceptor.stop()
        # The kernel has finished the TCP handshakes of these connections: their clients wait for us.
        with suppress(BlockingIOError):
            while True:
                self._admit(*self._listening.accept())
        self._listening.close()
        if self._handshakes:
            await asyncio.wait(self._handshakes)
        await super().shutdown(None)

    def _admit(self, connection: socket.socket, address: Any) -> None:
        place = self._limits.admit(address[0])
        if not isinstance(place, Place):
            connection.close()
            self._turned_away(place)
            return
        connection.setblocking(False)
        with suppress(OSError):  # its client is gone
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT_BYTES)
        protocol = BoundedProtocol(
            self.config,
            self.server_state,
            connection,
            request_seconds=self._limits.request_seconds,
            named=lambda application: self._limits.name(place, application),
            closed=lambda: self._limits.release(place),
        )

        def end(limit: Limit, state: State) -> None:
            self._turned_away(limit, state)
            if protocol.made:
                # Not close(), which waits for the client: its descriptor would be one beyond the limit.
                protocol.transport.abort()
            else:
                # The connection's handshake notices it.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        # Set here and not when the handshake begins: the next accepted connection may already take this
        # place.
        place.end = end
        place.is_busy = lambda: protocol.is_busy
        task = asyncio.create_task(self._shake_hands(connection, protocol, place))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, connection: socket.socket, protocol: BoundedProtocol, place: Place) -> None:
        # asyncio accepts this argument only with TLS.
        seconds = None if self._context is None else self._limits.handshake_seconds
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
        except OSError as error:  # TLS errors, deadlines and lost connections are of this kind
            if isinstance(error, ssl.SSLCertVerificationError):
                self._untrusted(place.address, error.verify_message)
            _log.debug("handshake failed", client=place.address, error=str(error))
        finally:
            if not protocol.made:
                self._limits.release(place)
