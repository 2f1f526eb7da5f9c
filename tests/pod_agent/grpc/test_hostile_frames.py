"""Frames that no client library would send: the connection ends or goes on, its memory stays bounded, and the
server still serves others."""

from __future__ import annotations

import asyncio
import random
import struct
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import grpc
import h2.config
import h2.connection
import pytest
from h2.settings import SettingCodes
from hpack import Encoder

from pod_agent.grpc import call as calls
from pod_agent.grpc import connection as connections
from pod_agent.grpc import server as servers
from pod_agent.grpc.call import framed
from pod_agent.grpc.server import GrpcServer
from tests.pod_agent.grpc.serving import METHODS, Serving, serving
from tests.waiting import until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


class Transport:
    """Takes what is written, as a client that reads all or nothing."""

    def __init__(self, *, reads: bool = True) -> None:
        self.reads = reads
        self.written = bytearray()
        self.closed = self.aborted = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def get_write_buffer_size(self) -> int:
        return 0 if self.reads else len(self.written)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True
        self.written.clear()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(path: str = "/test.Calls/Wait", **more: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]


class Client:
    """Bytes into one connection, which has no socket."""

    def __init__(self, server: GrpcServer, *, reads: bool = True) -> None:
        self.connection = server.connection()
        self.transport = Transport(reads=reads)
        self.encoder = Encoder()
        self.connection.connection_made(cast(asyncio.BaseTransport, self.transport))
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> None:
        if not self.transport.closed:
            self.connection.data_received(data)

    def begin(self, stream: int, *, end: bool = False, **more: str) -> bytes:
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.encoder.encode(headers(**more)))

    def has_written(self, data: bytes) -> bool:
        return data in self.transport.written

    async def lost(self) -> None:
        self.connection.connection_lost(None)
        await until("the calls' end", lambda: not self.connection.is_busy)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GrpcServer]:
    monkeypatch.setattr(servers, "MOST_STREAMS_OF_CONNECTION", 100)
    monkeypatch.setattr(servers, "MOST_STREAMS", 400)
    server = GrpcServer(METHODS)
    yield server
    assert server._share.open == 0
    assert server._share.room._left == servers.MOST_ARRIVING_BYTES


@contextmanager
def bounded(mebibytes: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mebibytes * (1 << 20)
    finally:
        tracemalloc.stop()


def many(kind: int, payload: bytes, count: int, flags: int = 0, stream: int = 0) -> bytes:
    return frame(kind, flags, stream, payload) * count


FLOODS = {
    "pings": many(PING, bytes(8), 5000),
    "settings": many(SETTINGS, b"", 3000),
    "settings of a table": many(
        SETTINGS, struct.pack(">HI", SettingCodes.HEADER_TABLE_SIZE, 2**32 - 1), 1500
    ),
    "priorities": b"".join(frame(PRIORITY, 0, 2 * number + 1, b"\0\0\0\0\7") for number in range(4000)),
    "unknown frames": many(0x77, b"x" * 100, 1000),
    "window updates": many(WINDOW, struct.pack(">I", 1), 4000),
    "empty data": many(DATA, b"", 4000, stream=1),
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_attack_a_flood_of_frames_costs_a_bounded_amount_of_memory(
    server: GrpcServer, flood: str
) -> None:
    client = Client(server)
    client.send(client.begin(1))
    with bounded(1.5):
        client.send(FLOODS[flood])
        client.transport.written.clear()
        client.send(FLOODS[flood])
    assert not client.transport.closed
    await client.lost()


@pytest.mark.parametrize("flood", ["pings", "settings"])
async def test_attack_a_client_that_asks_and_does_not_read_loses_its_connection(
    server: GrpcServer, monkeypatch: pytest.MonkeyPatch, flood: str
) -> None:
    monkeypatch.setattr(connections, "_MOST_WAITING_BYTES", 20_000)
    client = Client(server, reads=False)
    client.send(client.begin(1))
    client.send(FLOODS[flood])
    assert client.transport.aborted
    await client.lost()


async def test_attack_headers_without_end_are_not_collected(server: GrpcServer) -> None:
    client = Client(server)
    with bounded(3):
        client.send(frame(HEADERS, 0, 1, b""))
        for _ in range(1000):
            client.send(frame(CONTINUATION, 0, 1, bytes(16_000)))
    assert client.transport.closed
    await client.lost()


@pytest.mark.parametrize("size", [17_000, 200_000])
async def test_attack_long_headers_end_the_connection(server: GrpcServer, size: int) -> None:
    client = Client(server)
    block = client.encoder.encode([*headers(), ("x", "y" * size)], huffman=False)
    client.send(frame(HEADERS, 0, 1, block[:16_000]))
    for begin in range(16_000, len(block), 16_000):
        client.send(frame(CONTINUATION, 0, 1, block[begin : begin + 16_000]))
    client.send(frame(CONTINUATION, END_HEADERS, 1))
    assert client.transport.closed
    await client.lost()


async def test_attack_a_header_that_unpacks_to_megabytes_ends_the_connection(server: GrpcServer) -> None:
    client = Client(server)
    client.send(frame(HEADERS, END_HEADERS, 1, client.encoder.encode([*headers(), ("x", "y" * 3000)])))
    again = bytes([0x80 | 62]) * 16_000  # the newest entry of the table
    with bounded(2):
        client.send(frame(HEADERS, END_HEADERS, 3, client.encoder.encode(headers()) + again))
    assert client.transport.closed
    await client.lost()


async def test_attack_a_header_that_is_no_text_is_a_header_like_any_other() -> None:
    async with serving() as running:
        reader, writer = await asyncio.open_unix_connection(running.path)
        sent = [(name.encode(), value.encode()) for name, value in headers("/test.Calls/Echo")]
        block = Encoder().encode([*sent, (b"odd", b"\xc2 \xff")])
        call = frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, framed(b"hello"))
        writer.write(PREFACE + frame(SETTINGS, 0, 0) + call)
        found = b""
        while b"hello" not in found:
            found += (part := await reader.read(1000))
            assert part, found
        writer.close()


async def test_attack_streams_reset_at_once_leave_nothing(server: GrpcServer) -> None:
    client = Client(server)
    with bounded(3):
        for number in range(2500):
            stream = 2 * number + 1
            client.send(client.begin(stream) + frame(RST, 0, stream, bytes(4)))
            if number % 100 == 0:
                await asyncio.sleep(0)
                client.transport.written.clear()
    assert not client.transport.closed
    await until("the calls' end", lambda: not client.connection.is_busy)
    await client.lost()


async def test_streams_beyond_the_limits_are_refused(server: GrpcServer) -> None:
    clients = [Client(server) for _ in range(5)]
    for client in clients:
        client.transport.written.clear()
        for number in range(servers.MOST_STREAMS_OF_CONNECTION):
            client.send(client.begin(2 * number + 1))
    assert server._share.open == servers.MOST_STREAMS
    assert b"too many" not in clients[3].transport.written
    assert clients[4].transport.written.count(frame(RST, 0, 1, bytes(4))) == 1
    for client in clients:
        await client.lost()


async def test_attack_streams_that_were_refused_take_no_places(server: GrpcServer) -> None:
    client = Client(server)
    for number in range(connections.ADVERTISED_STREAMS + 200):
        client.send(client.begin(2 * number + 1))
    assert not client.transport.closed
    assert server._share.open == servers.MOST_STREAMS_OF_CONNECTION
    await client.lost()


@pytest.mark.parametrize("payload", [struct.pack(">I", 0), struct.pack(">I", 2**31 - 1)])
@pytest.mark.parametrize("stream", [0, 1])
async def test_attack_a_window_of_nothing_or_too_much_ends_the_stream_or_the_connection(
    server: GrpcServer, payload: bytes, stream: int
) -> None:
    client = Client(server)
    client.send(client.begin(1) + frame(WINDOW, 0, stream, payload))
    await until("an end", lambda: client.transport.closed or not client.connection.is_busy)
    await client.lost()


async def test_attack_windows_of_one_byte_get_their_answer_byte_by_byte(server: GrpcServer) -> None:
    """And one that never opens again loses its connection."""
    client = Client(server)
    client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 1)))
    client.send(client.begin(1, path="/test.Calls/Echo"))
    client.transport.written.clear()
    client.send(frame(DATA, END_STREAM, 1, framed(b"ab")))
    await until("one byte", lambda: frame(DATA, 0, 1, b"\0") in client.transport.written)
    for byte in (b"\0", b"\0", b"\0", b"\2", b"a", b"b"):
        client.transport.written.clear()
        client.send(frame(WINDOW, 0, 1, struct.pack(">I", 1)))
        await until("one byte", partial(client.has_written, frame(DATA, 0, 1, byte)))
    await until("its end", lambda: not client.connection.is_busy)
    await client.lost()


async def test_attack_a_client_that_does_not_take_its_answer_loses_the_connection(
    server: GrpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_SENDING_SECONDS", 0)
    client = Client(server)
    client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 0)))
    client.send(client.begin(1, path="/test.Calls/Echo") + frame(DATA, END_STREAM, 1, framed(b"")))
    await until("the connection's end", lambda: client.transport.aborted)
    await client.lost()


async def test_streams_that_waited_for_a_connection_do_not_all_write_at_once(server: GrpcServer) -> None:
    """The connection would be ended, because too many bytes wait for its client."""
    client = Client(server)
    window = struct.pack(">I", 1 << 24)
    client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", SettingCodes.INITIAL_WINDOW_SIZE, 1 << 24)))
    client.send(frame(WINDOW, 0, 0, window))
    client.connection.pause_writing()
    for stream in range(1, 101, 2):
        client.send(client.begin(stream, path="/test.Calls/Echo"))
        client.send(frame(DATA, END_STREAM, stream, framed(b"x" * 1000)))
    for _ in range(20):
        await asyncio.sleep(0)

    def complete() -> int:
        return client.transport.written.count(b"x" * 1000)

    write = client.transport.write

    def write_and_pause(data: bytes) -> None:
        write(data)
        client.connection.pause_writing()

    client.transport.write = write_and_pause  # type: ignore[method-assign]  # as one whose buffer is full
    for written in range(1, 51):
        client.connection.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert complete() == written
    await client.lost()


async def test_attack_unread_messages_are_held_up_to_the_window(server: GrpcServer) -> None:
    client = Client(server)
    client.send(client.begin(1))
    for _ in range(6):  # the method reads one message only
        client.send(frame(DATA, 0, 1, framed(b"") + bytes(16_000)))
        await asyncio.sleep(0)
    assert client.transport.closed
    await client.lost()


async def test_long_messages_that_do_not_arrive_keep_nobody_out_for_long(
    server: GrpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "MOST_ARRIVING_SECONDS", 0.2)
    client = Client(server)
    begun = struct.pack(">BI", 0, calls.MOST_MESSAGE_BYTES)
    for number in range(servers.MOST_ARRIVING_BYTES // calls.MOST_MESSAGE_BYTES):
        stream = 2 * number + 1
        client.send(client.begin(stream) + frame(DATA, 0, stream, begun))
    await until("no room", lambda: not server._share.room._left)
    client.transport.written.clear()
    client.send(client.begin(101) + frame(DATA, 0, 101, begun))
    await until("a refusal", lambda: frame(RST, 0, 101, bytes(4)) in client.transport.written)
    await until("room", lambda: server._share.room._left == servers.MOST_ARRIVING_BYTES)
    await client.lost()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"content_type": "text/html"}, "415"),
        ({"te": ""}, "400"),
        ({"grpc_timeout": "soon"}, "200"),
        ({"grpc_timeout": "123456789S"}, "200"),
    ],
)
async def test_a_request_that_is_not_grpc_is_refused_by_its_status(
    server: GrpcServer, more: dict[str, str], status: str
) -> None:
    client = Client(server)
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    http.initiate_connection()
    http.data_to_send()
    replaced = dict(headers()) | {name.replace("_", "-"): value for name, value in more.items()}
    http.send_headers(1, [(name, value) for name, value in replaced.items() if value], end_stream=True)
    client.send(http.data_to_send())
    events: list[Any] = http.receive_data(bytes(client.transport.written))
    (answer,) = (dict(event.headers) for event in events if hasattr(event, "headers"))
    assert (answer[":status"], answer["content-type"]) == (status, "application/grpc")
    assert answer["grpc-status"] != "0"
    await client.lost()


async def test_attack_random_and_changed_frames_end_at_most_their_connection() -> None:
    """Over a socket: what asyncio would catch and log is a failure here."""
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with serving() as running:
        rng = random.Random(16)
        for number in range(300):
            _, writer = await asyncio.open_unix_connection(str(running.path))
            writer.write(_fuzzed(rng, number))
            writer.write_eof() if number % 3 else None
            await asyncio.sleep(0)
            writer.close()
        async with grpc.aio.insecure_channel(running.target) as channel:
            echo: Any = channel.unary_unary("/test.Calls/Echo")
            assert await echo(b"still served") == b"still served"
        await until("the calls' end", lambda: _open(running) == 0)
    assert failures == []


def _open(running: Serving) -> int:
    return running.server._share.open


def _fuzzed(rng: random.Random, number: int) -> bytes:
    encoder = Encoder()
    good = PREFACE + frame(SETTINGS, 0, 0)
    for stream in (1, 3, 5):
        path = rng.choice(sorted(METHODS))
        good += frame(HEADERS, END_HEADERS, stream, encoder.encode(headers(path)))
        good += frame(DATA, rng.randrange(2), stream, framed(b"12"))
    good += (
        frame(PING, 0, 0, bytes(8)) + frame(WINDOW, 0, 0, struct.pack(">I", 9)) + frame(RST, 0, 1, bytes(4))
    )
    if number % 4 == 0:  # frames of any kind with any content, after a good beginning
        for _ in range(20):
            content = rng.randbytes(rng.randrange(40))
            good += frame(rng.randrange(12), rng.randrange(256), rng.randrange(8), content)
        return good
    changed = bytearray(good)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(len(PREFACE), len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed) + 1)] if number % 2 else changed)
