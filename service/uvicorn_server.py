"""uvicorn, as the programs use it that have an HTTP application of some size.

The program itself handles SIGTERM and SIGINT, since it runs several servers in one event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn


def options(drain_seconds: int) -> dict[str, Any]:
    """Of uvicorn.Config. After `drain_seconds` of stopping, requests that are not answered are given up."""
    return {
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # There is no proxy before us: the client's address is that of the connection, whatever a header
        # contains.
        "proxy_headers": False,
        "timeout_graceful_shutdown": drain_seconds,
    }


class Server(uvicorn.Server):
    """A server that leaves signals to the program."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_until(
    leaving: asyncio.Event,
    servers: Sequence[tuple[uvicorn.Server, socket.socket]],
    *,
    delay_seconds: float = 0,
) -> None:
    """Serves on all sockets until `leaving` is set, or until one of the servers ends, which sets it.

    After `delay_seconds` no more connections are accepted; requests that were begun are answered.
    """
    tasks = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    left = asyncio.create_task(leaving.wait())
    await asyncio.wait([*tasks, left], return_when=asyncio.FIRST_COMPLETED)
    if left.done() and delay_seconds:
        await asyncio.wait(tasks, timeout=delay_seconds, return_when=asyncio.FIRST_COMPLETED)
    left.cancel()
    leaving.set()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
