"""A server that accepts connections within limits, and answers what was begun when it stops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

import structlog
import uvicorn

from cluster_agent.errors import Limit
from cluster_agent.server.connection_limits import ConnectionLimits, Place
from cluster_agent.server.connections import BoundedProtocol
from service.listening import Server

DRAIN_SECONDS = 10
_ACCEPT_AGAIN_SECONDS = 0.5

_log = structlog.get_logger(__name__)


class AgentServer(Server):
    """Accepts connections within `limits`, with TLS unless `context` is None.

    `turned_away` is called with the limit's name for each connection that a limit costs, and `untrusted` with
    the address and the cause for each client certificate that is not accepted. The caller handles signals.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        context: ssl.SSLContext | None,
        limits: ConnectionLimits,
        turned_away: Callable[[Limit], None],
        untrusted: Callable[[str, str], None],
    ) -> None:
        super().__init__(config)
        self._context = context
        self._limits = limits
        self._turned_away = turned_away
        self._untrusted = untrusted
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # uvicorn's own list, which stays empty
        for listener in sockets or []:
            listener.setblocking(False)
            self._accepting.append(asyncio.create_task(self._accept(listener)))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in sockets or []:
            # The kernel has finished the TCP handshakes of these connections: their clients wait for us.
            with suppress(BlockingIOError):
                while True:
                    self._admit(*listener.accept())
            listener.close()
        if self._handshakes:
            await asyncio.wait(self._handshakes)
        await super().shutdown(None)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                # The process has no descriptors or memory left, or the client is already gone.
                _log.error("connection not accepted", error=error.strerror)
                await asyncio.sleep(_ACCEPT_AGAIN_SECONDS)
            else:
                self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[str, int]) -> None:
        place = self._limits.admit(address[0])
        if not isinstance(place, Place):
            connection.close()
            self._turned_away(place)
            return
        connection.setblocking(False)
        protocol = BoundedProtocol(
            self.config,
            self.server_state,
            connection,
            request_seconds=self._limits.request_seconds,
            named=lambda: self._limits.name(place),
            closed=lambda: self._limits.release(place),
        )

        def end() -> None:
            self._turned_away("connections-nameless")
            if protocol.made:
                protocol.transport.abort()
            else:
                # The connection's handshake notices it.
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        # Set here and not when the handshake begins: the next accepted connection may already take this
        # place.
        place.end = end
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
