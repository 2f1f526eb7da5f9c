"""Listening and stopping: what every HTTP server of the programs has in common.

The program itself handles SIGTERM and SIGINT, since it runs several servers in one event loop.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn

from service.errors import SettingsError

_BACKLOG = 2048
# The addresses of both families; IPv4 only, where the machine has no IPv6.
EVERYWHERE = "::"
_IPV4_EVERYWHERE = "0.0.0.0"  # noqa: S104 - as the setting demands


def listen(host: str, port: int, settings: str = "--host, --port") -> socket.socket:
    """A listening TCP socket, for IPv4 and IPv6 where `host` is EVERYWHERE. Raises SettingsError, which names
    `settings`, when it cannot be had."""
    both = host == EVERYWHERE and socket.has_dualstack_ipv6()
    address = _IPV4_EVERYWHERE if host == EVERYWHERE and not both else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsError(f"{settings}: cannot listen on {host} port {port}: {error.strerror}") from error


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


def stop_on_signal(stop: asyncio.Event) -> None:
    """Sets `stop` at SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


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
