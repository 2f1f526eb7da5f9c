"""One HTTP/2 connection of a gRPC client: begins calls, or refuses them, and carries their bytes.

A limit on streams is not left to HTTP/2's own setting, which client libraries obey: at it, Go's makes its
callers wait without an error. The client is permitted more, and what is beyond the limit is refused.
"""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport, Task, Transport
from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from pod_agent.errors import GrpcError
from pod_agent.grpc.call import Call, Method
from pod_agent.grpc.request import CONTENT_TYPE, NotGrpc, parse_request
from pod_agent.grpc.share import Share
from pod_agent.grpc.status import Status
from pod_agent.listener import Served

# So long may a client leave an answer unread of which it has begun to take the bytes.
MOST_SENDING_SECONDS = 30.0
# What a client library is told: it must be able to open the stream that is refused.
ADVERTISED_STREAMS = 1500
_MOST_HEADER_BYTES = 16 * 1024
_HEADER_TABLE_BYTES = 4096
# What is sent to a client that does not read, such as the answers to its settings and pings, waits here.
_MOST_WAITING_BYTES = 1 << 20
# HTTP/2's own: so many bytes of a connection, and of a stream, may wait until a method reads them.
_WINDOW_BYTES = 2**16 - 1
# So much of what arrived is looked at before its answers are sent: an event has many times a frame's bytes.
_PART_BYTES = 16 * 1024
_STOPPING = "the server stops"


class _Http(H2Connection):
    # h2's own number, 65536, would let each connection hold megabytes of streams that ended.
    MAX_CLOSED_STREAMS = ADVERTISED_STREAMS


class Connection(Served):
    """The protocol of one connection. It ends when its client asks and does not read."""

    def __init__(self, methods: Mapping[str, Method], share: Share) -> None:
        self._methods = methods
        self._share = share
        self._calls: dict[int, Call] = {}
        self._tasks: dict[int, Task[None]] = {}
        self._blocked: dict[int, asyncio.Future[None]] = {}
        self._turn = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._paused = False
        # Every byte is a character of it. Of headers that are no UTF-8 h2 would raise an error of Python.
        self._http = _Http(H2Configuration(client_side=False, header_encoding="latin-1"))
        limits = {
            SettingCodes.MAX_CONCURRENT_STREAMS: ADVERTISED_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: _MOST_HEADER_BYTES,
            SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
        }
        self._http.local_settings = Settings(client=False, initial_values=limits)
        self._http.decoder.max_header_list_size = _MOST_HEADER_BYTES

    @property
    def is_busy(self) -> bool:
        return bool(self._calls)

    def end(self) -> None:
        """Ends the connection after what was written to it. Calls that are not complete are UNAVAILABLE."""
        for stream in list(self._calls):
            self._finish(stream, Status.UNAVAILABLE, _STOPPING)
        self._http.close_connection()
        self._close()

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast(Transport, transport)
        self._http.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        for begin in range(0, len(data), _PART_BYTES):
            try:
                events = self._http.receive_data(data[begin : begin + _PART_BYTES])
            except ProtocolError:  # h2 has written why
                self._close()
                return
            for event in events:
                self._take(event)
            self._flush()
            if self._transport.get_write_buffer_size() > _MOST_WAITING_BYTES:
                self._transport.abort()
            if self._transport.is_closing():
                return

    def pause_writing(self) -> None:
        self._paused = True
        self._judge_writable()

    def resume_writing(self) -> None:
        self._paused = False
        self._judge_writable()

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks.values():
            task.cancel()

    def acknowledge(self, stream: int, size: int) -> None:
        if size and not self._transport.is_closing():
            self._http.acknowledge_received_data(size, stream)
            self._flush()

    async def send(self, stream: int, frame: bytes, *, first: bool) -> None:
        if first:
            self._headers(stream, [(":status", "200"), ("content-type", CONTENT_TYPE)], end=False)
        try:
            async with asyncio.timeout(MOST_SENDING_SECONDS):
                await self._write(stream, frame)
        except TimeoutError as error:
            self._transport.abort()
            raise GrpcError(Status.DEADLINE_EXCEEDED, "the answer was not read") from error

    async def _write(self, stream: int, frame: bytes) -> None:
        http, rest = self._http, memoryview(frame)
        while rest:
            # One frame at a time, in turn: if all streams that waited wrote at once, so many bytes would wait
            # for the client that its connection is ended.
            async with self._turn:
                await self._writable.wait()
                room = min(http.local_flow_control_window(stream), http.max_outbound_frame_size, len(rest))
                if room > 0:
                    http.send_data(stream, bytes(rest[:room]))
                    self._flush()
                    rest = rest[room:]
                    self._judge_writable()
                    continue
                self._blocked[stream] = blocked = asyncio.get_running_loop().create_future()
            await blocked

    def _take(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._begin(event.stream_id, cast(Iterable[tuple[str, str]], event.headers))
            case DataReceived():
                self._feed(event.stream_id, event.data, event.flow_controlled_length)
            case StreamEnded():
                if (call := self._calls.get(event.stream_id)) is not None:
                    call.feed_end()
            case StreamReset():
                if (task := self._tasks.get(event.stream_id)) is not None:
                    task.cancel()
            case WindowUpdated():
                self._unblock([event.stream_id] if event.stream_id else list(self._blocked))
            case RemoteSettingsChanged():
                # A client may ask us to hold a table of any size for it.
                encoder = self._http.encoder
                encoder.header_table_size = min(encoder.header_table_size, _HEADER_TABLE_BYTES)
                self._unblock(list(self._blocked))
            case ConnectionTerminated():
                self._close()

    def _feed(self, stream: int, data: bytes, padded: int) -> None:
        if (call := self._calls.get(stream)) is not None:
            call.feed(data, padded - len(data))
        else:
            self.acknowledge(stream, padded)

    def _begin(self, stream: int, headers: Iterable[tuple[str, str]]) -> None:
        share = self._share
        if len(self._calls) >= share.most_streams_of_connection or share.open >= share.most_streams:
            self._refuse(stream, Status.RESOURCE_EXHAUSTED, "too many streams are open")
            return
        try:
            request = parse_request(headers)
        except NotGrpc as error:
            self._refuse(stream, Status.UNKNOWN, str(error), error.status)
            return
        except ValueError as error:
            self._refuse(stream, Status.INVALID_ARGUMENT, str(error))
            return
        method = self._methods.get(request.path)
        if method is None:
            self._refuse(stream, Status.UNIMPLEMENTED, "this method is not served")
            return
        call = Call(self, stream, request.metadata, share.room)
        share.open += 1
        self._calls[stream] = call
        self._tasks[stream] = task = asyncio.create_task(self._run(stream, call, method, request.seconds))
        # Not at the end of the task: one that is cancelled before its first step runs none of it.
        task.add_done_callback(partial(self._ended, stream))

    async def _run(self, stream: int, call: Call, method: Method, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds) as deadline:
                await method(call)
        except GrpcError as error:
            self._finish(stream, error.status, str(error))
        except ProtocolError:
            pass  # the client ended the stream or the connection at that moment
        except Exception as error:  # an unforeseen error must not leave its client waiting
            if deadline.expired():
                self._finish(stream, Status.DEADLINE_EXCEEDED, "the call's deadline is over")
                return
            path = call.metadata.get(":path")
            self._share.log.warning("call failed", kind=str(path), method=path, exc_info=error)
            self._finish(stream, Status.INTERNAL, "internal error")
        else:
            self._finish(stream, Status.OK)

    def _ended(self, stream: int, _task: Task[None]) -> None:
        self._share.open -= 1
        del self._tasks[stream]
        self._blocked.pop(stream, None)
        self._calls.pop(stream).drop()

    def _finish(self, stream: int, status: Status, message: str = "") -> None:
        if self._calls[stream].begun:
            self._headers(stream, _trailers(status, message), end=True)
        else:
            self._refuse(stream, status, message)

    def _refuse(self, stream: int, status: Status, message: str, http_status: int = 200) -> None:
        """Answers with nothing but trailers. They have a content type: without one, gRPC of Go and Java shows
        UNKNOWN instead of the status."""
        head = [(":status", str(http_status)), ("content-type", CONTENT_TYPE)]
        self._headers(stream, head + _trailers(status, message), end=True)

    def _headers(self, stream: int, headers: list[tuple[str, str]], *, end: bool) -> None:
        try:
            self._http.send_headers(stream, headers, end_stream=end)
        except ProtocolError:
            return  # the client has already ended the stream, or the connection
        if end:
            state = self._http.streams.get(stream)
            if state is not None and not state.closed:
                self._http.reset_stream(stream, ErrorCodes.NO_ERROR)
        self._flush()

    def _unblock(self, streams: Iterable[int]) -> None:
        self._judge_writable()
        for stream in streams:
            blocked = self._blocked.pop(stream, None)
            if blocked is not None and not blocked.done():
                blocked.set_result(None)

    def _judge_writable(self) -> None:
        if not self._paused and self._http.outbound_flow_control_window > 0:
            self._writable.set()
        else:
            self._writable.clear()

    def _close(self) -> None:
        self._flush()
        for task in self._tasks.values():
            task.cancel()
        if self._transport.get_write_buffer_size():  # it would stay as long as its client does not read
            self._transport.abort()
        else:
            self._transport.close()

    def _flush(self) -> None:
        if data := self._http.data_to_send():
            self._transport.write(data)


def _trailers(status: Status, message: str) -> list[tuple[str, str]]:
    trailers = [("grpc-status", str(int(status)))]
    if message:
        # PROTOCOL-HTTP2, Status-Message: percent-encoded UTF-8.
        trailers.append(("grpc-message", quote(message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}~")))
    return trailers
