"""Accepting connections, as a background task: what goes on during a flood, and after an error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from service.acceptor import Acceptor
from service.supervisor import Supervisor
from tests.waiting import PATIENCE_SECONDS, until

CLIENTS = 50


class Admitted:
    """The connections that were given to `admit`, which fails for those in `failures`."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self.failures: dict[int, Exception] = {}
        self.ticks: list[int] = []
        self._count = 0

    def admit(self, connection: socket.socket, _client: Any) -> None:
        self._count += 1
        if error := self.failures.pop(self._count, None):
            connection.close()
            raise error
        self.connections.append(connection)

    async def tick(self) -> None:
        """Notes, at each turn of the event loop, how many were admitted."""
        while True:
            self.ticks.append(len(self.connections))
            await asyncio.sleep(0)


@pytest.fixture
async def admitted() -> AsyncIterator[Admitted]:
    one = Admitted()
    yield one
    for connection in one.connections:
        connection.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as one:
        yield one


def connect(stack: ExitStack, listening: socket.socket, count: int = 1) -> None:
    for _ in range(count):
        stack.enter_context(socket.create_connection(listening.getsockname(), PATIENCE_SECONDS))


async def test_attack_other_work_goes_on_between_the_connections_of_a_flood(
    admitted: Admitted, listening: socket.socket
) -> None:
    acceptor = Acceptor("connections", listening, admitted.admit)
    with ExitStack() as stack:
        connect(stack, listening, CLIENTS)
        ticking = asyncio.create_task(admitted.tick())
        async with Supervisor([acceptor.task]).running():
            await until("the flood", lambda: len(admitted.connections) == CLIENTS)
        ticking.cancel()
    assert set(range(CLIENTS)) <= set(admitted.ticks)


@pytest.mark.parametrize(
    ("error", "failures"),
    [(RuntimeError("a defect"), 1), (OSError(24, "Too many open files"), 1), (ConnectionAbortedError(), 0)],
    ids=["defect", "no descriptors", "client is gone"],
)
async def test_an_error_of_one_connection_is_counted_and_the_next_ones_are_accepted(
    admitted: Admitted, listening: socket.socket, error: Exception, failures: int
) -> None:
    admitted.failures[1] = error
    acceptor = Acceptor("connections", listening, admitted.admit)
    supervisor = Supervisor([acceptor.task])
    with ExitStack() as stack:
        connect(stack, listening, 3)
        async with supervisor.running():
            await until("the others", lambda: len(admitted.connections) == 2)
    assert supervisor.records["connections"].failures == failures


async def test_what_was_accepted_before_the_stop_is_admitted_and_nothing_after_it(
    admitted: Admitted, listening: socket.socket
) -> None:
    acceptor = Acceptor("connections", listening, admitted.admit)
    supervisor = Supervisor([acceptor.task])
    with ExitStack() as stack:
        async with supervisor.running():
            connect(stack, listening)
            await until("the first", lambda: len(admitted.connections) == 1)
            await acceptor.stop()
            connect(stack, listening)
            await asyncio.sleep(0.05)
    assert len(admitted.connections) == 1
    assert supervisor.records["connections"].failures == 0
