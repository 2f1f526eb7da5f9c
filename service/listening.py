"""Listening and stopping: what every HTTP server of the programs has in common.

The program itself handles SIGTERM and SIGINT, since it runs several servers in one event loop.
"""

from __future__ import annotations

import asyncio
import signal
import socket

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


def stop_on_signal(stop: asyncio.Event) -> None:
    """Sets `stop` at SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
