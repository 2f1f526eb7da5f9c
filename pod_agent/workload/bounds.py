"""gRPC within limits, and with answers that every client understands.

grpclib has no limit on streams but HTTP/2's own setting, which client libraries obey:
at it, Go's makes its callers wait without an error. It has none on messages.
"""

from __future__ import annotations

import asyncio
from asyncio import BaseTransport, Task, Transport
from collections.abc import Callable
from typing import Any, cast

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.protocol import Stream as HTTPStream
from grpclib.server import Handler, Server, Stream
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

MOST_STREAMS_OF_CONNECTION = 100
MOST_STREAMS = 400
# So long may a client leave an answer unread of which it has begun to take the bytes.
MOST_SENDING_SECONDS = 30.0
# The requests of the Workload API are empty, or contain an audience or a token.
MOST_MESSAGE_BYTES = 64 * 1024
# What a client library is told: it must be able to open the stream that is refused.
_ADVERTISED_STREAMS = 1000
_MOST_HEADER_BYTES = 16 * 1024
# The answers to settings and pings wait here for a client that does not read.
_MOST_WAITING_BYTES = 1 << 20
# HTTP/2's own: so many bytes of a connection may wait until a handler reads them.
_WINDOW_BYTES = 2**16 - 1


class WorkloadServer(Server):
    """The calls of `api`, over connections that a listener accepts."""

    def __init__(self, api: Any) -> None:
        config = Configuration(
            http2_connection_window_size=_WINDOW_BYTES, http2_stream_window_size=_WINDOW_BYTES
        )
        super().__init__([api], config=config)
        self._streams = _Streams()

    def protocol(self) -> BoundedProtocol:
        """The protocol of one connection."""
        handler = _BoundedHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__, streams=self._streams
        )
        return BoundedProtocol(handler, self._config, self._h2_config)


class _Streams:
    """How many streams all connections have."""

    open = 0


class BoundedProtocol(H2Protocol):
    """One connection. It ends when its client asks and does not read."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self._transport = cast(Transport, transport)
        http = self.connection._connection  # noqa: SLF001 - grpclib has no setting for it
        http.decoder.max_header_list_size = _MOST_HEADER_BYTES
        http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: _ADVERTISED_STREAMS})
        self.connection.flush()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._transport.get_write_buffer_size() > _MOST_WAITING_BYTES:
            self._transport.abort()

    @property
    def is_busy(self) -> bool:
        return bool(self.processor.streams)


class _BoundedHandler(Handler):
    """Begins the calls of one connection, or refuses them."""

    def __init__(self, *arguments: Any, streams: _Streams) -> None:
        super().__init__(*arguments)
        self._all = streams
        self._open = 0

    def accept(
        self, stream: HTTPStream, headers: list[tuple[str, str]], release_stream: Callable[[], Any]
    ) -> None:
        if self._open >= MOST_STREAMS_OF_CONNECTION or self._all.open >= MOST_STREAMS:
            refuse(stream, Status.RESOURCE_EXHAUSTED, "too many streams are open")
            release_stream()
        elif dict(headers).get(":path") not in self.mapping:
            refuse(stream, Status.UNIMPLEMENTED, "this method is not served")
            release_stream()
        else:
            self._open += 1
            self._all.open += 1

            def ended(_task: Task[None]) -> None:
                self._open -= 1
                self._all.open -= 1
                release_stream()

            # Not by the handler: a task that is cancelled before its first step runs none of it.
            super().accept(stream, headers, lambda: None)
            self._tasks[stream].add_done_callback(ended)

    def cancel(self, stream: HTTPStream) -> None:
        if stream in self._tasks:  # one that was refused never began
            super().cancel(stream)


def refuse(stream: HTTPStream, status: Status, message: str) -> None:
    """Answers with nothing but trailers, at once. They have a content type: without one, gRPC of Go and Java
    shows UNKNOWN instead of the status."""
    connection = stream.connection._connection  # noqa: SLF001 - grpclib's own answer has no content type
    headers = [
        (":status", "200"),
        ("content-type", f"{GRPC_CONTENT_TYPE}+proto"),
        ("grpc-status", str(status.value)),
        ("grpc-message", message),
    ]
    try:
        connection.send_headers(cast(int, stream.id), headers, end_stream=True)
    except ProtocolError:
        return  # the client has already ended the stream
    if stream.closable:
        stream.reset_nowait()
    stream.connection.flush()


async def receive(stream: Stream[Any, Any]) -> None:
    """Receives the message of a request that has no fields. Raises GRPCError when it is none, or too long:
    grpclib's own would hold whatever length it states."""
    source = stream._stream  # noqa: SLF001 - grpclib has no limit on messages
    try:
        head = await source.recv_data(5)
        if not head:
            return
        if head[0]:
            raise GRPCError(Status.UNIMPLEMENTED, "the message is compressed")
        length = int.from_bytes(head[1:], "big")
        if length > MOST_MESSAGE_BYTES:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"the message has more than {MOST_MESSAGE_BYTES} bytes"
            )
        await source.recv_data(length)
    except AssertionError as error:
        raise GRPCError(Status.INVALID_ARGUMENT, "the message ends too early") from error


def framed(message: bytes) -> bytes:
    """An uncompressed message as gRPC sends it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


async def send(stream: Stream[Any, Any], frame: bytes) -> None:
    """Sends a message that is framed already: grpclib's own method copies it for each stream. A client that
    does not take it in time loses its connection."""
    if not stream._send_initial_metadata_done:  # noqa: SLF001 - grpclib sends only messages of its own making
        await stream.send_initial_metadata()
    sink = stream._stream  # noqa: SLF001
    try:
        async with asyncio.timeout(MOST_SENDING_SECONDS):
            await _write(sink, frame)
    except TimeoutError as error:
        sink._transport.abort()  # noqa: SLF001
        raise GRPCError(Status.DEADLINE_EXCEEDED, "the answer was not read") from error


async def _write(sink: HTTPStream, frame: bytes) -> None:
    http, connection = sink._h2_connection, sink.connection  # noqa: SLF001
    rest = memoryview(frame)
    while rest:
        # Looked at again after each wait. In grpclib's own loop all streams that waited would write at once,
        # and so many bytes would wait for the client that its connection is ended.
        if not connection.write_ready.is_set():
            await connection.write_ready.wait()
            continue
        window = http.local_flow_control_window(cast(int, sink.id))
        if window <= 0:
            sink.window_updated.clear()
            await sink.window_updated.wait()
            continue
        part = rest[: min(window, http.max_outbound_frame_size)]
        http.send_data(cast(int, sink.id), bytes(part))
        connection.flush()
        rest = rest[len(part) :]
