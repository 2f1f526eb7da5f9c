"""One connection over a real socket, with a clock of the test's: its bounds, and the order of its answers."""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock, patch

import pytest
import uvloop
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from tests.pods import container, pod, review
from tests.waiting import until
from tests.webhook.applying import CONFIGURATION
from tests.webhook.serving import certificate
from webhook.answers import Answers
from webhook.connections import IDLE_SECONDS, REQUEST_SECONDS, Connection, Handling
from webhook.lines import Lines
from webhook.metrics import Metrics
from webhook.policy import CLUSTER_NAMESPACES
from webhook.server import create_app
from webhook.shares import Most, Shares
from webhook.volume_support import NOT_LOOKED, VolumeSupport

SMALL = Most(bytes=200_000)


@dataclass
class Served:
    """A client's connection, and the server's end of it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: Connection
    shares: Shares
    metrics: Metrics
    now: float = 0.0

    def send(self, *requests: bytes) -> None:
        self.writer.write(b"".join(requests))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and content of the next answer."""
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def reason(self) -> tuple[int, str]:
        status, _, content = await self.answer()
        return status, json.loads(content)["error"]["reason"]

    async def is_ended(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionError:
            return True

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.connection.look(self.now)


@asynccontextmanager
async def connected(
    most: Most | None = None,
    ours: ssl.SSLContext | None = None,
    theirs: ssl.SSLContext | None = None,
    support: Callable[[], VolumeSupport] = lambda: NOT_LOOKED,
) -> AsyncIterator[Served]:
    """A connection, with TLS where both sides have a context for it."""
    metrics = Metrics()
    shares = Shares(lambda _: None, metrics.turned_away, most)
    answers = Answers(CONFIGURATION, CLUSTER_NAMESPACES, metrics, Lines("webhook"), support)
    served: list[Served] = []
    handling = Handling(
        answers,
        create_app(metrics=metrics),
        shares,
        ServerState(),
        lambda: served[0].now if served else 0.0,
    )
    connections = []

    def connection() -> Connection:
        made = Connection(handling)
        place = shares.admit("127.0.0.1", made.abort)
        assert place is not None
        made.place = place
        connections.append(made)
        return made

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, ssl=ours)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=theirs)
        await until("the connection", lambda: connections and connections[0].made)
        served.append(Served(reader, writer, connections[0], shares, metrics))
        try:
            yield served[0]
        finally:
            writer.close()
            connections[0].abort()
            await until("its end", lambda: shares.connections == 0)
            served.clear()  # what the server's side does not hold, this does not either


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        "POST /mutate?timeout=5s HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


REVIEW = json.dumps(review(pod())).encode()
GET_HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


async def test_reviews_and_pages_are_answered_on_one_connection_in_turn() -> None:
    async with connected() as served:
        for _ in range(2):
            served.send(post(REVIEW))
            status, headers, content = await served.answer()
            assert (status, headers["content-type"]) == (200, "application/json")
            assert json.loads(content)["response"]["allowed"] is True
            served.send(GET_HEALTH)
            assert (await served.answer())[::2] == (200, b'{"status":"ok"}')


async def test_reviews_that_come_at_once_are_answered_in_their_order() -> None:
    async with connected() as served:
        uids = [f"uid-{n}" for n in range(20)]
        served.send(*(post(json.dumps(review(pod(), uid=uid)).encode()) for uid in uids))
        answers = [json.loads((await served.answer())[2]) for _ in uids]
        assert [answer["response"]["uid"] for answer in answers] == uids


@pytest.mark.parametrize("first", [GET_HEALTH, post(REVIEW + b" " * 100_000)], ids=["page", "large"])
async def test_a_request_that_does_not_wait_for_the_answer_before_it_ends_the_connection(
    first: bytes,
) -> None:
    async with connected() as served:
        served.send(first, GET_HEALTH * 1000)
        await until("its end", lambda: served.shares.connections == 0)


async def test_a_body_in_pieces_and_in_chunks_is_read_whole() -> None:
    async with connected() as served:
        request = post(REVIEW)
        for piece in (request[:20], request[20:200], request[200:]):
            served.send(piece)
            await served.writer.drain()
            await asyncio.sleep(0)
        assert (await served.answer())[0] == 200
        head = (
            b"POST /mutate HTTP/1.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (REVIEW[:9], REVIEW[9:]))
        served.send(head, chunks, b"0\r\n\r\n")
        assert (await served.answer())[0] == 200


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    async with connected() as served:
        request = post(REVIEW, "expect: 100-continue")
        served.send(request.removesuffix(REVIEW))
        assert await served.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        served.send(REVIEW)
        assert (await served.answer())[0] == 200


async def test_a_client_that_says_close_gets_its_answer_and_the_end() -> None:
    async with connected() as served:
        served.send(post(REVIEW, "connection: close"))
        status, headers, _ = await served.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await served.is_ended()


async def test_what_is_no_http_is_answered_400() -> None:
    async with connected() as served:
        served.send(b"\x16\x03\x01 what is this\r\n\r\n")
        assert await served.reason() == (400, "InvalidHTTP")
        assert await served.is_ended()


@pytest.mark.parametrize("header", [b"x: %b\r\n" % (b"y" * 1000), b"x:\r\n"], ids=["long", "many"])
async def test_an_endless_head_is_refused_and_nothing_of_it_is_held(header: bytes) -> None:
    async with connected() as served:
        served.send(b"GET / HTTP/1.1\r\n", header * 200)
        assert await served.reason() == (431, "HeadTooLarge")
        assert len(served.connection._request.headers) <= 64
        assert served.shares.bytes == 0


async def test_a_head_that_is_not_complete_counts_as_held_until_it_is_answered() -> None:
    async with connected() as served:
        served.send(GET_HEALTH[:-2])
        await until("its first part", lambda: served.shares.bytes == len(GET_HEALTH) - 2)
        served.send(GET_HEALTH[-2:])
        assert (await served.answer())[0] == 200
        assert served.shares.bytes == 0


@pytest.mark.parametrize("asked", ["POST /mutate", "PUT /mutate", "GET /healthz"])
async def test_attack_a_trailer_without_end_ends_the_connection(asked: str) -> None:
    """The parser keeps it, and copies it with each further part: megabytes of it would stop the event
    loop."""
    head = "content-type: application/json\r\ntransfer-encoding: chunked"
    async with connected() as served:
        served.send(f"{asked} HTTP/1.1\r\n{head}\r\n\r\n2\r\n{{}}\r\n0\r\nx: ".encode())
        for _ in range(3):
            served.send(b"y" * 50_000)
        await until("its end", lambda: served.shares.connections == 0)


async def test_a_refused_request_that_goes_on_as_no_http_is_answered_once() -> None:
    async with connected() as served:
        served.send(
            b"POST /mutate HTTP/1.1\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
        )
        assert await served.reason() == (415, "UnsupportedMediaType")
        assert await served.is_ended()


async def test_a_body_that_does_not_come_in_time_is_refused_and_its_bytes_are_given_back() -> None:
    async with connected() as served:
        served.send(post(b"{" + b" " * 90_000, length=100_000))
        await until("the body's first part", lambda: served.shares.bytes > 90_000)
        served.later(REQUEST_SECONDS - 1)
        assert served.shares.connections == 1
        served.later(1)
        assert await served.reason() == (408, "BodyTooSlow")
        assert await served.is_ended()
        assert served.shares.bytes == 0


async def test_a_head_that_does_not_come_in_time_ends_the_connection() -> None:
    async with connected() as served:
        served.send(b"POST /mutate HTT")
        await until("its first bytes", lambda: served.connection._request.is_arriving)
        served.later(REQUEST_SECONDS)
        assert await served.is_ended()


async def test_an_idle_connection_lives_longer_than_an_api_server_keeps_it() -> None:
    async with connected() as served:
        served.send(post(REVIEW))
        await served.answer()
        served.later(91)
        served.send(post(REVIEW))
        assert (await served.answer())[0] == 200
        served.later(IDLE_SECONDS)
        assert await served.is_ended()


async def test_a_body_for_which_there_is_no_room_is_answered_429() -> None:
    async with connected(SMALL) as served:
        served.send(post(b" " * 250_000, length=300_000))
        assert await served.reason() == (429, "NoRoom")
        assert served.shares.bytes == 0
        text = served.metrics.exposition().decode()
        assert 'vanadium_webhook_turned_away_total{limit="bytes"} 1.0' in text


async def test_answers_that_are_not_read_are_bounded_in_bytes_and_in_time() -> None:
    subject = pod(*(container(f"c-{n}") for n in range(500)))
    request = post(json.dumps(review(subject)).encode())
    async with connected() as served:
        reading = served.writer.transport
        reading.pause_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            served.send(request)
            await asyncio.sleep(0)
            if served.connection._is_paused:
                break
        await until("an answer that waits", lambda: served.connection._is_paused)
        assert served.shares.bytes > 0
        served.later(REQUEST_SECONDS)
        await until("its end", lambda: served.shares.connections == 0)
        assert served.shares.bytes == 0


def test_attack_ended_connections_leave_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    """What one client's connections held would otherwise stay, however many of them end, until Python looks
    for garbage: a hundred megabytes in a minute."""
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for path, content in zip((chain, key), certificate(), strict=True):
        path.write_bytes(content)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(chain, key)
    theirs = ssl.create_default_context(cafile=chain)

    async def ended(sent: bytes) -> weakref.ref[Connection]:
        async with connected(None, ours, theirs) as served:
            served.send(sent)
            await until("the request", lambda: served.connection._was_asked)
            return weakref.ref(served.connection)

    requests = (post(REVIEW), GET_HEALTH, post(REVIEW, length=100_000), GET_HEALTH[:-2])
    gc.disable()
    try:
        assert [uvloop.run(ended(sent))() for sent in requests] == [None] * 4
    finally:
        gc.enable()


async def test_stopping_answers_what_was_begun_and_ends_what_is_idle() -> None:
    async with connected() as served:
        request = post(REVIEW)
        served.send(request[:-10])
        await until("the request", lambda: served.connection._request.is_review)
        served.connection.shutdown()
        served.send(request[-10:])
        status, headers, _ = await served.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert await served.is_ended()
    async with connected() as served:
        served.send(GET_HEALTH)
        await served.answer()
        served.connection.shutdown()
        assert await served.is_ended()
    async with connected() as served:
        served.connection.shutdown()
        served.send(GET_HEALTH)
        assert (await served.answer())[0] == 200
        assert await served.is_ended()


async def test_an_unforeseen_error_costs_one_answer() -> None:
    support = Mock(side_effect=[ZeroDivisionError(), NOT_LOOKED])
    async with connected(support=support) as served:
        served.send(post(REVIEW))
        assert (await served.answer())[0] == 500
        served.send(post(REVIEW))
        assert (await served.answer())[0] == 200


async def test_an_unforeseen_error_while_a_request_is_read_costs_its_connection() -> None:
    async with connected() as served:
        request = post(REVIEW)
        served.send(request[:300])
        await until("the first part", lambda: served.shares.bytes)
        with patch.object(served.shares, "hold", Mock(side_effect=ArithmeticError)), capture_logs() as lines:
            served.send(request[300:])
            assert await served.is_ended()
    assert [line["event"] for line in lines] == ["request not read"]


def test_attack_unforeseen_errors_without_end_fill_no_disk() -> None:
    support = Mock(side_effect=ZeroDivisionError())
    answers = Answers(CONFIGURATION, CLUSTER_NAMESPACES, Metrics(), Lines("webhook"), support)
    with capture_logs() as lines:
        statuses = {answers.to(REVIEW, 0.0).status for _ in range(100)}
    assert statuses == {500}
    assert 0 < len(lines) < 50
