"""Connections that the kernel has and the server has not accepted yet, when it is told to end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack

import uvicorn
from starlette.responses import PlainTextResponse

from cluster_agent.errors import Limit
from cluster_agent.server.connection_limits import ConnectionLimits, State
from cluster_agent.server.servers import AgentServer
from tests.waiting import PATIENCE_SECONDS

NAMELESS = 2


def test_attack_connections_that_wait_at_the_end_are_within_their_share_as_any() -> None:
    asyncio.run(_connect_and_end())


async def _connect_and_end() -> None:
    limits = ConnectionLimits(
        20, most_from_address=8, handshake_seconds=60, request_seconds=60, nameless_share=NAMELESS / 20
    )
    turned_away: list[tuple[Limit, State | None]] = []

    def note(limit: Limit, evicted: State | None = None) -> None:
        turned_away.append((limit, evicted))

    config = uvicorn.Config(PlainTextResponse("here"), lifespan="off", log_config=None)
    config.load()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        server = AgentServer(
            config, None, limits, note, lambda _address, _why: None, name="connections", listening=listener
        )
        server.lifespan = config.lifespan_class(config)
        await server.startup()
        clients = []
        for source in ("127.0.0.2", "127.0.0.2", "127.0.0.3"):
            client = socket.create_connection(listener.getsockname(), source_address=(source, 0))
            clients.append(stack.enter_context(client))
        ending = asyncio.create_task(server.shutdown())
        answers = await asyncio.gather(*(asyncio.to_thread(_ask, client) for client in clients))
        await ending
    assert [b"here" in answer for answer in answers] == [False, True, True]
    assert turned_away == [("connections-nameless", "nameless")]
    assert limits.open == 0


def _ask(client: socket.socket) -> bytes:
    client.settimeout(PATIENCE_SECONDS)
    received = b""
    try:
        client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        while part := client.recv(4096):
            received += part
    except ConnectionError:
        pass
    return received
