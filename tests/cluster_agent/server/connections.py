"""Connections below HTTP, as a client makes them that does not keep to what a client should."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from blessings import Blessing, Principal
from blessings.tls import client_context
from tests.cluster_agents import RunningClusterAgent
from tests.waiting import PATIENCE_SECONDS


@contextmanager
def connected(
    url: str, source: str = "127.0.0.1", *, receive_buffer: int | None = None
) -> Iterator[socket.socket]:
    """A bare TCP connection from `source` to the port in `url`, on this machine."""
    with socket.socket() as one:
        one.settimeout(PATIENCE_SECONDS)
        if receive_buffer is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        one.bind((source, 0))
        one.connect(("127.0.0.1", port_of(url)))
        yield one


@contextmanager
def nameless(agent: RunningClusterAgent, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A TLS connection without a client certificate."""
    context = ssl.create_default_context(cadata=agent.server_roots.to_pem())
    with connected(agent.url, source) as bare, context.wrap_socket(bare, server_hostname="localhost") as one:
        yield one


@contextmanager
def shaken_hands(
    agent: RunningClusterAgent,
    secret: dict[str, object],
    source: str = "127.0.0.1",
    *,
    receive_buffer: int | None = None,
) -> Iterator[ssl.SSLSocket]:
    """A TLS connection with that secret's bootstrap credential."""
    credential = secret["credential"]
    assert isinstance(credential, dict)
    context = client_context(
        Principal.from_pem(credential["privateKey"].encode()),
        Blessing.from_pem(credential["certificateChain"]),
        agent.server_roots,
    )
    with (
        connected(agent.url, source, receive_buffer=receive_buffer) as bare,
        context.wrap_socket(bare, server_hostname="localhost") as connection,
    ):
        yield connection


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
