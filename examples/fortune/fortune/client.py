"""The client: calls a server over mTLS after checking its name."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import Any

from blessings import Blessing, Name, Pattern, Verdict, fingerprint, verify
from blessings.tls import require_peer_blessing
from fortune.identity import ReplicaIdentity, peer_name

_TIMEOUT_SECONDS = 10.0


class FortuneError(Exception):
    """The server refused the call, or has another name than expected."""


def call(
    identity: ReplicaIdentity, address: tuple[str, int], expected: Pattern, method: str, argument: str | None
) -> tuple[Name, Any]:
    """The server's name and its answer. Raises FortuneError, VerificationError, OSError."""
    with _connected(identity, address) as secure:
        server = peer_name(secure, identity)
        if not expected.matches(server):
            raise FortuneError(f"{server} answers at {address[0]}:{address[1]}, expected {expected}")
        connection = HTTPConnection(address[0], address[1])
        connection.sock = secure
        try:
            connection.request("POST", f"/{method}", json.dumps(argument))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (HTTPException, ValueError) as error:
            raise FortuneError(f"{server} gave no answer: {error!r}") from error
    if response.status != 200:
        raise FortuneError(answer["error"])
    return server, answer


def identify(identity: ReplicaIdentity, address: tuple[str, int]) -> tuple[Blessing, Verdict]:
    """The blessing that the server presents, and its valid names. Raises OSError, BlessingsError."""
    with _connected(identity, address) as secure:
        blessing = require_peer_blessing(secure)
    return blessing, verify([blessing], identity.roots, now=datetime.now(UTC), policy=identity.policy)


@contextmanager
def _connected(identity: ReplicaIdentity, address: tuple[str, int]) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(address, timeout=_TIMEOUT_SECONDS) as plain,
        identity.client().wrap_socket(plain) as secure,
    ):
        yield secure


def description(blessing: Blessing, verdict: Verdict) -> str:
    """Three lines, in the format of the original Vanadium's `identify`, and a reason for each invalid
    blessing."""
    lines = [
        f"PRESENTED: {blessing.presented}",
        f"VALID:     [{', '.join(str(name) for name in verdict.valid)}]",
        f"PUBLICKEY: {fingerprint(blessing.public_key)}",
    ]
    lines += [f"REJECTED:  {one.presented}: {one.reason}: {one.message}" for one in verdict.rejected]
    return "\n".join(lines)
