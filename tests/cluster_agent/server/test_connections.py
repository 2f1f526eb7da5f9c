"""What is left of a connection when it has ended."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from cluster_agent.server.connections import BoundedProtocol
from tests.waiting import PATIENCE_SECONDS


@pytest.mark.parametrize("answers", [0, 1, 2])
def test_a_connection_that_ended_is_freed_at_once_and_not_by_the_collector_of_garbage(answers: int) -> None:
    with _without_collector():
        asyncio.run(_connect_and_end(answers))


async def _connect_and_end(answers: int) -> None:
    config = uvicorn.Config(PlainTextResponse("here"), lifespan="off", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    ended = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname())
        here, _ = listener.accept()
    protocol = BoundedProtocol(
        config, state, here, request_seconds=60, named=lambda _application: None, closed=ended.set
    )
    left, unconnected = weakref.ref(protocol), [protocol]
    del protocol
    here.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(unconnected.pop, here)
    with there:
        for _ in range(answers):
            await asyncio.to_thread(_ask, there)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ended.wait()
    # Its transport lets go of it in the next turn of the loop.
    for _ in range(3):
        await asyncio.sleep(0)
    assert left() is None


def _ask(client: socket.socket) -> None:
    client.settimeout(PATIENCE_SECONDS)
    client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    received = b""
    while not received.endswith(b"here"):
        received += client.recv(4096)


@contextmanager
def _without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
