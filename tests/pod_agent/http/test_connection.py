"""HTTP/1.1 as clients send it, and as none would."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from pod_agent.errors import HttpError
from pod_agent.http import connection as connections
from pod_agent.http import exchange
from pod_agent.http.connection import HttpConnection
from pod_agent.http.exchange import Answer, Request, as_json, routed
from service.bounded_log import BoundedLog
from service.log import get_logger
from tests.log_lines import captured_lines
from tests.pod_agent.running import short_directory
from tests.waiting import PATIENCE_SECONDS, until


@dataclass
class Serving:
    path: Path
    handlers: Handlers
    connections: list[HttpConnection] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        return any(one.is_busy for one in self.connections)

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def said(self, *parts: bytes) -> bytes:
        """Everything that the server answers to these bytes, up to the end of the connection."""
        reader, writer = await self.opened()
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        writer.close()
        return answer

    def client(self) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.path))
        return httpx.AsyncClient(transport=transport, base_url="http://agent", timeout=PATIENCE_SECONDS)


class Handlers:
    """Of every kind. `released` counts the ends of what an answer held, `taken` the parts of `left`."""

    def __init__(self) -> None:
        self.released = 0
        self.taken = 0

    async def echo(self, request: Request) -> Answer:
        return as_json({"body": (await request.body()).decode(), **request.parameters})

    async def segment(self, request: Request) -> Answer:
        return Answer(kind="text/plain", content=request.rest.encode())

    async def broken(self, _request: Request) -> Answer:
        raise ZeroDivisionError("a secret of ours")

    async def stream(self, request: Request) -> Answer:
        count = int(request.parameters["count"])
        return Answer(kind="text/plain", parts=numbers(count), during=self.held(fails=False))

    async def left(self, request: Request) -> Answer:
        """A stream that never waits, whose connection ends at its third part."""

        async def parts() -> AsyncGenerator[bytes]:
            for self.taken in range(1, 1001):
                if self.taken == 3:
                    request.end()
                yield b"part"

        return Answer(kind="text/plain", parts=parts(), during=self.held(fails=False))

    async def busy(self, _request: Request) -> Answer:
        return Answer(parts=numbers(1), during=self.held(fails=True))

    @contextmanager
    def held(self, *, fails: bool) -> Iterator[None]:
        if fails:
            raise HttpError(503, "Busy", "later")
        try:
            yield
        finally:
            self.released += 1


async def numbers(count: int) -> AsyncGenerator[bytes]:
    for number in range(count):
        yield b"%d\n" % number * 1000
    if not count:
        await asyncio.Event().wait()


@asynccontextmanager
async def serving() -> AsyncIterator[Serving]:
    with short_directory() as directory:
        running = Serving(directory / "http.sock", Handlers())
        handler = routed(
            {
                "POST /echo": running.handlers.echo,
                "GET /echo": running.handlers.echo,
                "GET /names/*": running.handlers.segment,
                "GET /broken": running.handlers.broken,
                "GET /stream": running.handlers.stream,
                "GET /left": running.handlers.left,
                "GET /busy": running.handlers.busy,
            }
        )
        make = partial(HttpConnection, handler, BoundedLog(get_logger("test")))

        def connection() -> HttpConnection:
            running.connections.append(make())
            return running.connections[-1]

        listening = await asyncio.get_running_loop().create_unix_server(connection, running.path)
        try:
            yield running
        finally:
            listening.close()
            for one in running.connections:
                one.end()


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


async def test_one_connection_serves_one_request_after_the_other(server: Serving) -> None:
    async with server.client() as client:
        for number in range(20):
            answer = await client.post("/echo", params={"n": number}, content="x" * number)
            assert answer.json() == {"body": "x" * number, "n": str(number)}
            assert answer.headers["content-type"] == "application/json"
        head = await client.head("/names/web")
        assert (head.status_code, head.headers["content-length"], head.content) == (200, "3", b"")
        streamed = await client.get("/stream", params={"count": 3})
        assert streamed.text == "".join(f"{number}\n" * 1000 for number in range(3))
        assert (await client.get("/names/acme%3Aweb")).text == "acme:web"

        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        assert (await client.post("/echo", content=parts())).json() == {"body": "ab"}
    assert len(server.connections) == 1
    assert server.handlers.released == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/other", 404, "NotServed"),
        ("GET", "/names/a/b", 404, "NotServed"),
        ("DELETE", "/echo", 405, "MethodNotAllowed"),
        ("GET", "/busy", 503, "Busy"),
        ("GET", "/broken", 500, "InternalError"),
        ("GET", "/echo?" + "&".join(f"p{number}=1" for number in range(100)), 400, "MalformedRequest"),
    ],
)
async def test_a_refusal_is_one_object_with_its_reason(
    server: Serving, method: str, path: str, status: int, reason: str
) -> None:
    with captured_lines() as lines:
        async with server.client() as client:
            answer = await client.request(method, path)
            assert (await client.get("/names/still-served")).is_success
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert "secret" not in answer.text
    assert [line["event"] for line in lines] == (["request failed"] if status == 500 else [])


async def test_requests_that_come_at_once_are_answered_in_order(server: Serving) -> None:
    request = b"GET /names/%d HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /names/9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await server.said(b"".join(request % number for number in range(9)) + last)
    bodies = [part[:1] for part in answer.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"%d" % number for number in range(10)]


async def test_a_request_may_come_byte_by_byte_and_wait_for_continue(server: Serving) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n"
    answer = await server.said(*(bytes([byte]) for byte in head + b"\r\nab"))
    assert answer.endswith(b'{"body":"ab"}')
    reader, writer = await server.opened()
    writer.write(head + b"Expect: 100-continue\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 100")
    writer.write(b"ab")
    assert (await reader.read()).endswith(b'{"body":"ab"}')
    writer.close()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 5000, 431),
        (b"GET /" + b"x" * 20_000, 431),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
async def test_what_is_no_http_is_refused_and_its_connection_ends(
    server: Serving, request_: bytes, status: int
) -> None:
    assert (await server.said(request_)).startswith(b"HTTP/1.1 %d " % status)


async def test_attack_a_body_without_end_is_not_collected_and_its_client_reads_the_answer(
    server: Serving,
) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await server.said(head, *[b"%x\r\n%s\r\n" % (30_000, bytes(30_000))] * 100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_a_body_that_does_not_arrive_is_not_waited_for(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "MOST_BODY_SECONDS", 0.05)
    answer = await server.said(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_without_a_request_ends(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.05)
    assert await server.said() == b""
    assert (await server.said(b"GET /names/web HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"web")


async def test_a_client_that_leaves_ends_what_is_done_for_it(server: Serving) -> None:
    _, writer = await server.opened()
    writer.write(b"GET /stream?count=0 HTTP/1.1\r\nHost: a\r\n\r\n")
    await until("its begin", lambda: server.busy)
    writer.close()
    await until("its end", lambda: not server.busy and server.handlers.released == 1)


async def test_attack_a_client_that_leaves_a_stream_that_never_waits_does_not_hold_the_loop(
    server: Serving,
) -> None:
    _, writer = await server.opened()
    writer.write(b"GET /left HTTP/1.1\r\nHost: a\r\n\r\n")
    await until("its end", lambda: server.handlers.released == 1)
    assert server.handlers.taken == 3
    writer.close()


async def test_attack_a_client_that_does_not_read_is_not_written_to_without_end(server: Serving) -> None:
    _, writer = await server.opened()
    writer.write(b"GET /stream?count=1000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    await until("its begin", lambda: server.busy)
    await until("a full connection", lambda: not server.connections[0]._writable.is_set())
    assert server.connections[0]._transport.get_write_buffer_size() < 200_000
    writer.close()
    await until("its end", lambda: not server.busy)


async def test_at_the_end_what_was_begun_is_answered(server: Serving) -> None:
    reader, writer = await server.opened()
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    await until("its begin", lambda: server.busy)
    server.connections[0].end()
    writer.write(b"ab")
    assert (await reader.read()).endswith(b'{"body":"ab"}')
    writer.close()


async def test_attack_random_and_changed_requests_end_at_most_their_connection() -> None:
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    rng = random.Random(16)
    good = (
        b"POST /echo?a=b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        b"GET /stream?count=2 HTTP/1.1\r\nHost: a\r\n\r\nGET /names/x HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    changes: list[Callable[[bytearray], object]] = [
        lambda text: text.__setitem__(rng.randrange(len(text)), rng.randrange(256)),
        lambda text: text.insert(rng.randrange(len(text)), rng.choice(b"\r\n :;,0")),
        lambda text: text.pop(rng.randrange(len(text))),
    ]
    async with serving() as running:
        for _ in range(400):
            text = bytearray(good)
            for _ in range(rng.randrange(1, 5)):
                rng.choice(changes)(text)
            _, writer = await running.opened()
            writer.write(text[: rng.randrange(len(text) + 1)])
            await asyncio.sleep(0)
            writer.close()
        async with running.client() as client:
            assert (await client.get("/names/still-served")).text == "still-served"
        await until("the requests' end", lambda: not running.busy)
    assert failures == []
