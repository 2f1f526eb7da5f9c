"""One connection: HTTP/1.1 with or without TLS, and the defence against clients that hold it open.

With TLS, its requests know the client's certificate chain. A handshake, the first request, and each request
from its first byte to its last have a deadline. The bytes before an answer have a limit. The client must read
an answer faster than a minimum rate. So an open connection costs the client as much as us. A connection
without a client certificate ends with its first refusal.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from blessings import Blessing, InvalidCertificate
from blessings.tls import peer_blessing
from cluster_agent.server.taken_bytes import bytes_taken
from service.addresses import plain_address
from service.bounded_log import BoundedLog
from service.shared_answers import ending

# More than the largest body; uvicorn itself does not limit the headers that this parser accepts.
MOST_UNANSWERED_BYTES = 128 * 1024
# While an answer waits for its client. At this rate, a revocation list of a megabyte takes a quarter of an
# hour.
LEAST_TAKEN_BYTES_PER_SECOND = 1000
_bounded_log = BoundedLog(structlog.get_logger(__name__))
_ROOT_AND_NAME = 2
_EXTENSION = "vanadium.client_blessing"


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `named` is called with the application when it is made, if its client has a
    certificate that is accepted; `closed` is called when it ends, if it was made."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        connection: socket.socket,
        *,
        request_seconds: float,
        named: Callable[[str], None],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(config=config, server_state=server_state, app_state={})
        self._connection = connection
        self._request_seconds = request_seconds
        self.made = False
        self._named = named
        self._closed = closed
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None
        self._unanswered_bytes = 0
        self._taken_before = 0
        self._asked = False
        self._arriving = False
        self._draining = False

    @property
    def is_busy(self) -> bool:
        """Whether its end would cost its client a request: one that is arriving, being answered or not yet
        sent, or the first one, which follows a handshake at once."""
        if not self._asked or self._arriving or not self.cycle.response_complete:
            return True
        return self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's
        super().connection_made(transport)
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        # Pauses writing whenever any byte waits: with fewer bytes than the limit, a closing connection could
        # wait for ever.
        transport.set_write_buffer_limits(high=1, low=0)
        self.made = True
        connection = transport.get_extra_info("ssl_object")
        try:
            blessing = None if connection is None else peer_blessing(connection)
        except InvalidCertificate as error:
            _bounded_log.warning("connection ended", error=str(error))
            transport.abort()
            return
        if blessing is not None:
            self._named(application_of(blessing))
        self.app = _with_blessing(self.app, blessing, self._give_up, over_tls=connection is not None)
        self._begin_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._end_taking()
        self._closed()
        super().connection_lost(exc)
        # Each refers to this object. Without them it is freed at once. With them, hundreds of ended
        # connections would take memory until garbage is collected.
        self.app = None  # there is no further request
        self.scope = None  # type: ignore[assignment]
        self.cycle = None  # type: ignore[assignment]  # as uvicorn has both before the first request

    def data_received(self, data: bytes) -> None:
        self._unanswered_bytes += len(data)
        # Also of a request whose answer has begun before it is complete: the parser keeps a header, or a
        # trailer, until its end, and copies it with each further part.
        if self._unanswered_bytes > MOST_UNANSWERED_BYTES and (self._arriving or not self._is_answering()):
            self._give_up()
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._asked = self._arriving = True
        self._begin_deadline()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self._arriving = False
        self._end_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._unanswered_bytes = 0
        self._taken_before = bytes_taken(self._connection)
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        # Data that waits below TLS is invisible here, and the deadline for the connection's end would cut it
        # off.
        taken = bytes_taken(self._connection)
        if taken - self._taken_before < LEAST_TAKEN_BYTES_PER_SECOND * self.timeout_keep_alive:
            super().timeout_keep_alive_handler()
            return
        self._taken_before = taken
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._end_taking()
        self._see_whether_it_takes(bytes_taken(self._connection))

    def resume_writing(self) -> None:
        self._end_taking()
        super().resume_writing()

    def shutdown(self) -> None:
        """Asks the connection to end. A client that was admitted and has sent no request yet gets one
        answer."""
        if not self._asked and not self.transport.is_closing():
            self._draining = True
        else:
            super().shutdown()

    def _is_answering(self) -> bool:
        return self._asked and self.cycle.response_started

    def _begin_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._request_seconds, self._give_up)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _see_whether_it_takes(self, before: int) -> None:
        def see() -> None:
            taken = bytes_taken(self._connection)
            if taken - before < LEAST_TAKEN_BYTES_PER_SECOND * self._request_seconds:
                self._give_up()
            else:
                self._see_whether_it_takes(taken)

        self._taking = self.loop.call_later(self._request_seconds, see)

    def _end_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _give_up(self) -> None:
        self._end_deadline()
        self._end_taking()
        # Not close(), which would wait for a client that does not read.
        self.transport.abort()


def application_of(blessing: Blessing) -> str:
    """The application of a client certificate: the name above a replica's, and the whole name of a bootstrap
    credential and of the control plane. Certificates without a name, which prove nothing, are one."""
    try:
        name = blessing.presented.components
    except InvalidCertificate:
        return ""
    return ":".join(name if len(name) <= _ROOT_AND_NAME else name[:-1])


def client_blessing(scope: Scope) -> Blessing | None:
    """The chain that the client presented on this request's connection; None when it presented none."""
    blessing: Blessing | None = scope.get("extensions", {}).get(_EXTENSION)
    return blessing


def given_blessing(blessing: Blessing | None) -> dict[str, Any]:
    """The extension of a request's scope that `client_blessing` reads."""
    return {_EXTENSION: blessing}


def _with_blessing(
    app: Any, blessing: Blessing | None, end: Callable[[], None], *, over_tls: bool
) -> ASGIApp:
    ours = {**given_blessing(blessing), **ending(end)}

    async def with_blessing(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"] = {**scope.get("extensions", {}), **ours}

        async def send_and_end(message: Message) -> None:
            if message["type"] == "http.response.start" and _ends(message["status"], blessing):
                headers = [one for one in message.get("headers", ()) if one[0] != b"connection"]
                message = {**message, "headers": [*headers, (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, send_and_end if over_tls else send)

    return with_blessing


def _ends(status: int, blessing: Blessing | None) -> bool:
    """Whether the connection ends: when its client proves no name and was refused, or has a certificate that
    proves none."""
    return status == 401 or (blessing is None and status >= 400)
