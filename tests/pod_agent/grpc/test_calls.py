"""Calls of every kind, by the clients of grpcio (C) and grpclib (Python), as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError

from tests.pod_agent.grpc.serving import MESSAGE_OF_FAILURE, Serving, serving
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving() as running:
        yield running


@pytest.fixture
async def channel(server: Serving) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(server.target) as made:
        yield made


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE_SECONDS)
    return caught.value.code(), caught.value.details() or ""


async def test_a_unary_call_is_answered_with_its_metadata_known(channel: Any) -> None:
    echo = channel.unary_unary("/test.Calls/Echo")
    assert await echo(b"hello", metadata=[("prefix", ">")]) == b">hello"
    assert await echo(b"") == b""
    assert await echo(b"x" * 60_000) == b"x" * 60_000


async def test_a_stream_of_answers_arrives_complete_and_in_order(channel: Any) -> None:
    count = channel.unary_stream("/test.Calls/Count")
    assert [one async for one in count(b"300")] == [str(number).encode() for number in range(300)]
    assert [one async for one in count(b"0")] == []


async def test_a_conversation_goes_both_ways(channel: Any) -> None:
    call = channel.stream_stream("/test.Calls/Chat")()
    for message in (b"a", b"", b"b" * 30_000, b"c"):
        await call.write(message)
        assert await call.read() == message * 2
    await call.done_writing()
    assert [await call.read(), await call.read()] == [b"bye", grpc.aio.EOF]
    assert await call.code() is grpc.StatusCode.OK


class Bytes(CodecBase):
    """grpclib's codec for messages that are bytes."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, _kind: object) -> bytes:
        return message

    def decode(self, data: bytes, _kind: object) -> bytes:
        return data


async def test_another_client_library_agrees(server: Serving) -> None:
    channel = Channel(path=str(server.path), codec=Bytes())
    echo: Any = UnaryUnaryMethod(channel, "/test.Calls/Echo", bytes, bytes)
    assert await echo(b"x" * 60_000, metadata={"prefix": ">"}) == b">" + b"x" * 60_000
    fail: Any = UnaryUnaryMethod(channel, "/test.Calls/Fail", bytes, bytes)
    with pytest.raises(GRPCError) as caught:
        await fail(b"")
    assert (caught.value.status.name, caught.value.message) == ("NOT_FOUND", MESSAGE_OF_FAILURE)
    chat: Any = StreamStreamMethod(channel, "/test.Calls/Chat", bytes, bytes)
    async with chat.open() as stream:
        await stream.send_message(b"a")
        assert await stream.recv_message() == b"aa"
        await stream.end()
        assert await stream.recv_message() == b"bye"
        assert await stream.recv_message() is None
    channel.close()


@pytest.mark.parametrize("sent", [b"", b"after an answer"])
async def test_a_failure_keeps_its_status_and_message(channel: Any, sent: bytes) -> None:
    call = channel.unary_stream("/test.Calls/Fail")(sent)
    if sent:
        assert await call.read() == b"one answer"
    assert await code_of(call.read()) == (grpc.StatusCode.NOT_FOUND, MESSAGE_OF_FAILURE)


async def test_an_error_of_ours_reaches_the_client_without_its_text(channel: Any) -> None:
    code, details = await code_of(channel.unary_unary("/test.Calls/Break")(b""))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "internal error")


@pytest.mark.parametrize("path", ["/test.Calls/Other", "/Other/Echo", "/", "/grpc.health.v1.Health/Check"])
async def test_an_unknown_method_or_service_is_unimplemented(channel: Any, path: str) -> None:
    code, _ = await code_of(channel.unary_unary(path)(b"x" * 1000))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    code, _ = await code_of(channel.stream_stream(path)().read())
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_ends_at_its_deadline_and_leaves_nothing(server: Serving, channel: Any) -> None:
    code, _ = await code_of(channel.unary_unary("/test.Calls/Wait")(b"", timeout=0.1))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    await until("its end", lambda: not server.connections[0].is_busy)


async def test_a_cancelled_call_leaves_nothing(server: Serving, channel: Any) -> None:
    call = channel.unary_unary("/test.Calls/Wait")(b"")
    await until("its begin", lambda: server.connections and server.connections[0].is_busy)
    call.cancel()
    await until("its end", lambda: not server.connections[0].is_busy)


async def test_a_compressed_message_is_refused(server: Serving) -> None:
    async with grpc.aio.insecure_channel(server.target, compression=grpc.Compression.Gzip) as channel:
        echo: Any = channel.unary_unary("/test.Calls/Echo")
        code, details = await code_of(echo(b"x" * 10_000))
    assert (code, details) == (grpc.StatusCode.UNIMPLEMENTED, "the message is compressed")


@pytest.mark.parametrize("size", [64 * 1024 + 1, 3 << 20])
async def test_a_message_that_is_too_long_is_refused(channel: Any, size: int) -> None:
    code, _ = await code_of(channel.unary_unary("/test.Calls/Echo")(bytes(size)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await channel.unary_unary("/test.Calls/Echo")(b"still served") == b"still served"


async def test_at_the_end_a_call_that_is_not_complete_is_unavailable(server: Serving, channel: Any) -> None:
    call = channel.unary_unary("/test.Calls/Wait")(b"")
    await until("its begin", lambda: server.connections and server.connections[0].is_busy)
    server.connections[0].end()
    assert (await code_of(call))[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_thousand_calls_in_a_row_and_a_hundred_at_once(channel: Any) -> None:
    echo = channel.unary_unary("/test.Calls/Echo")
    for number in range(0, 1000, 100):
        sent = [str(one).encode() for one in range(number, number + 100)]
        assert await asyncio.gather(*(echo(one) for one in sent)) == sent
