"""One HTTP/1.1 connection: one request after the other."""

from __future__ import annotations

import asyncio
import time
from asyncio import BaseTransport, Transport
from contextlib import aclosing
from typing import cast

import h11

from pod_agent.errors import HttpError
from pod_agent.http.exchange import Answer, Handler, Request, refusal
from pod_agent.listener import Served
from service.bounded_log import BoundedLog

# So long may a connection wait for a request.
IDLE_SECONDS = 30.0
_MOST_HEADER_BYTES = 16 * 1024
_LINGER_SECONDS = 1.0
_NOT_MODIFIED = 304


class HttpConnection(Served):
    """The protocol of one connection, whose requests `handler` answers."""

    def __init__(self, handler: Handler, log: BoundedLog) -> None:
        self._handler = handler
        self._log = log
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER_BYTES)
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self._lingers = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    def end(self) -> None:
        """Ends the connection as soon as it is not busy."""
        self._ending = True
        if not self.is_busy:
            self._transport.close()

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        self._http.receive_data(data)
        self._read()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._task is not None:
            self._task.cancel()

    def _wait(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._transport.close)

    def _read(self) -> None:
        """Takes what has arrived, up to the end of the request that is being answered."""
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.Request():
                        self._begin(event)
                    case h11.Data():
                        self._feed(bytes(event.data))
                    case h11.EndOfMessage():
                        self._feed_end()
                    case h11.ConnectionClosed():
                        self.end()
                        return
        except h11.RemoteProtocolError as error:
            self._refuse(error)
            return
        if event is h11.PAUSED:  # a further request waits
            self._transport.pause_reading()

    def _begin(self, event: h11.Request) -> None:
        if self._idle is not None:
            self._idle.cancel()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        self._request = Request(
            event.method.decode("ascii"), event.target.decode("latin-1"), headers, self._transport.abort
        )
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        self._task = asyncio.create_task(self._serve(self._request))
        self._task.add_done_callback(self._served)

    def _feed(self, data: bytes) -> None:
        if self._request is not None:
            self._request.feed(data)

    def _feed_end(self) -> None:
        if self._request is not None:
            self._request.feed_end()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answers what is no HTTP, unless an answer has begun."""
        if self._task is None and self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            malformed = HttpError(error.error_status_hint, "MalformedRequest", "the request cannot be read")
            self._begin_answer(refusal(malformed))
        self._transport.close()

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._handler(request)
            await self._answer(request, answer)
        except HttpError as error:
            await self._answer(request, refusal(error))
        except h11.LocalProtocolError:
            pass  # the client ended the connection at that moment
        except Exception as error:  # noqa: BLE001 - an unforeseen error must not leave its client waiting
            self._log.warning("request failed", kind=request.path, path=request.path, exc_info=error)
            if self._http.our_state is h11.SEND_RESPONSE:
                await self._answer(request, refusal(HttpError(500, "InternalError", "internal error")))
            else:
                self._transport.abort()

    async def _answer(self, request: Request, answer: Answer) -> None:
        with answer.during:
            self._begin_answer(answer)
            if answer.parts is not None:
                async with aclosing(answer.parts) as parts:
                    if request.method != "HEAD":
                        async for part in parts:
                            self._send(h11.Data(data=part))
                            if self._transport.is_closing():  # of which a stream that never waits is not told
                                return
                            await self._writable.wait()
                self._send(h11.EndOfMessage())
            await self._writable.wait()

    def _begin_answer(self, answer: Answer) -> None:
        """Sends its head, and what it has at once."""
        headers = {"date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()), **answer.headers}
        if answer.kind:
            headers["content-type"] = answer.kind
        if answer.parts is None and answer.status != _NOT_MODIFIED:
            headers["content-length"] = str(len(answer.content))
        if self._ending or self._http.their_state not in (h11.DONE, h11.MUST_CLOSE):
            headers["connection"] = "close"
        self._send(h11.Response(status_code=answer.status, headers=[*headers.items()]))
        if answer.parts is None:
            if self._request is None or self._request.method != "HEAD":
                self._send(h11.Data(data=answer.content))
            self._send(h11.EndOfMessage())

    def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._transport.write(data)

    def _served(self, _task: asyncio.Task[None]) -> None:
        self._task = self._request = None
        if self._transport.is_closing():
            return
        if self._http.their_state is h11.SEND_BODY:
            # Without this, a client that still sends would get an error instead of the answer.
            self._lingers = True
            self._idle = asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._transport.close)
            return
        if self._ending or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._transport.close()
            return
        self._http.start_next_cycle()
        self._wait()
        self._transport.resume_reading()
        self._read()
