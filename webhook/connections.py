"""One connection: HTTP/1.1, with the hot path for `POST /mutate` and an ASGI application for all the rest.

A review is answered within the call that brought its last byte: no task, no queue, no copy of the head. A web
framework's own way takes several times as long as the admission itself.

What a client may hold is bounded: seconds for a request and for reading an answer, bytes of a request
(`arriving_request`), and of all requests and answers together (`shares`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools
import structlog

from webhook import body as bodies
from webhook.answers import Answer, Answers
from webhook.arriving_request import ArrivingRequest
from webhook.errors import BadRequestError
from webhook.pages import Page, page
from webhook.reasons import AdmissionReason
from webhook.shares import Place, Shares
from webhook.turns import Turns

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn.server import ServerState

# An API server gives a webhook call at most 30 seconds, and ours 5.
REQUEST_SECONDS = 5.0
# An API server keeps idle connections for 90 seconds. If we closed one first, a review on its way at that
# moment would fail, and with failurePolicy Ignore its Pod would go without an identity.
IDLE_SECONDS = 120.0
# What may wait for a client that does not read, before its next request has to wait.
_UNREAD_BYTES = 64 * 1024

_JSON = b"content-type: application/json\r\n"
_ALLOW = b"allow: POST\r\n"

# One for all connections: what is in it is used up within the call that brought it.
_RECEIVED = memoryview(bytearray(64 * 1024))

_log = structlog.stdlib.get_logger("webhook")


@dataclass
class Handling:
    """What all connections of a server have in common. `date` is the head's line with the current time."""

    answers: Answers
    app: ASGIApp
    shares: Shares
    state: ServerState
    now: Callable[[], float]
    turns: Turns = field(default_factory=Turns)
    date: bytes = b""


class Connection(asyncio.BufferedProtocol):
    """One client's connection. `place` is set before it is made."""

    place: Place
    _transport: asyncio.Transport
    _request: ArrivingRequest

    def __init__(self, handling: Handling) -> None:
        self._handling = handling
        self.made = False
        self.handshake: asyncio.Task[None] | None = None
        self._deadline = 0.0
        self._is_answering = False  # a page, or a large body that waits for its turn
        self._was_asked = False
        self._is_last = False  # it ends after the answer
        self._is_over = False  # the last answer is written
        self._is_paused = False  # the client does not read
        self._is_lost = False

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._request = ArrivingRequest(self, self._handling.answers.clock)
        self.made = True
        self._deadline = self._handling.now() + IDLE_SECONDS
        self._handling.state.connections.add(self)  # type: ignore[arg-type]  # it calls `shutdown` only

    def connection_lost(self, exc: Exception | None) -> None:
        request = self._request
        if request.is_review and request.is_arriving and not request.is_refused:
            self._handling.answers.refusal(bodies.truncated(), request.began)
        self._handling.state.connections.discard(self)
        self._handling.shares.release(self.place)
        self._is_lost = True
        request.end()
        del self._transport  # its circle too

    def get_buffer(self, sizehint: int) -> memoryview:
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        request = self._request
        try:
            request.feed(_RECEIVED[:nbytes])
        except BadRequestError as error:
            if not request.is_refused:
                self.refuse(error)
            self._transport.close()
            return
        except httptools.HttpParserCallbackError as error:
            _log.error("request not read", exc_info=error)
            self._transport.abort()
            return
        if self._is_paused:
            self._hold_unread()
        if not request.is_arriving or request.is_refused:
            return
        if not self._handling.shares.hold(self.place, request.held):
            message = "there is no room for more bodies at this moment"
            self.refuse(BadRequestError(429, AdmissionReason.NO_ROOM, message))

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._is_paused = True
        self._transport.pause_reading()
        self._deadline = self._handling.now() + REQUEST_SECONDS
        self._hold_unread()

    def resume_writing(self) -> None:
        self._is_paused = False
        self._handling.shares.hold(self.place, self._request.held)
        self._deadline = self._handling.now() + (
            REQUEST_SECONDS if self._request.is_arriving else IDLE_SECONDS
        )
        self._transport.resume_reading()

    def _hold_unread(self) -> None:
        held = self._request.held + self._transport.get_write_buffer_size()
        if not self._handling.shares.hold(self.place, held):
            self._transport.abort()

    # The request's owner

    def begin(self) -> None:
        self._was_asked = True
        if self._is_answering or self._is_over:
            # No client of ours sends a request before it has the answer to the one before it.
            self._transport.abort()
        self._deadline = self._handling.now() + REQUEST_SECONDS

    def end_after_answer(self) -> None:
        self._is_last = True

    def ask_for_body(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def refuse(self, error: BadRequestError) -> None:
        """Answers 4xx. The rest of the request is thrown away, so that the client reads the answer before the
        connection ends."""
        self._is_last = True
        answer = self._handling.answers.refusal(error, self._request.began or self._handling.answers.clock())
        self._write(answer, _JSON if answer.status != HTTPStatus.METHOD_NOT_ALLOWED else _JSON + _ALLOW)
        self._request.is_refused = True
        self._let_go()

    def complete(self) -> None:
        self._deadline = self._handling.now() + IDLE_SECONDS
        if self._request.is_refused:
            self._transport.close()
        elif not self._request.is_review:
            self._begin_page()
        elif self._request.size > bodies.LARGE:
            self._is_answering = True
            self._handling.turns.add(self._answer_later, for_api_server=self.place.is_api_server)
        else:
            self._answer()

    # Answers

    def _answer(self) -> None:
        body, began = self._request.body, self._request.began
        self._let_go()
        self._write(self._handling.answers.to(body, began, is_known=self.place.is_known))

    def _answer_later(self) -> None:
        self._is_answering = False
        if self._can_answer():
            self._answer()

    def _begin_page(self) -> None:
        self._is_answering = True
        self._let_go()
        request = self._request
        coroutine = page(self._handling.app, request.method.decode("ascii"), request.url, request.headers)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._handling.state.tasks.add(task)  # type: ignore[arg-type]  # it waits for their end only
        task.add_done_callback(self._end_page)

    def _end_page(self, task: asyncio.Task[Page]) -> None:
        self._handling.state.tasks.discard(task)
        self._is_answering = False
        if not task.cancelled() and self._can_answer():
            self._write(*task.result())

    def _can_answer(self) -> bool:
        return not self._is_lost and not self._transport.is_closing()

    def _let_go(self) -> None:
        self._request.let_go()
        if self.place.bytes:
            self._handling.shares.hold(self.place, 0)

    def _write(self, answer: Answer, more: bytes = _JSON) -> None:
        close = b"connection: close\r\n" if self._is_last else b""
        self._transport.write(answer.encoded(self._handling.date + more + close))
        self._is_over = self._is_last
        if self._is_over and not self._request.is_arriving:
            self._transport.close()

    # The server

    def look(self, now: float) -> None:
        """Ends the connection if its client takes too long."""
        if now < self._deadline or self._is_answering:
            return
        request = self._request
        if request.is_review and request.is_arriving and not request.is_refused and not self._is_paused:
            self.refuse(bodies.too_slow(REQUEST_SECONDS))
            self._transport.close()
        elif request.is_arriving or self._is_paused:
            self._transport.abort()
        else:
            self._transport.close()

    def shutdown(self) -> None:
        """Ends the connection after what was begun. A client that has sent nothing yet gets one answer."""
        self._is_last = True
        if self._was_asked and not self._request.is_arriving and not self._is_answering:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once, also before it is made."""
        if self._is_lost:
            return
        if self.made:
            self._transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()
