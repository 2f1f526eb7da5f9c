"""Puts the client's certificate chain where an ASGI application can read it.

uvicorn leaves the TLS extension out; this protocol fills `scope["extensions"]["tls"]` for every request of
a TLS connection (https://asgi.readthedocs.io/en/latest/specs/tls.html).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from blessings import Blessing
from blessings.certificates import to_pem
from blessings.tls import peer_blessing

_TLS_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


class TlsExtensionProtocol(H11Protocol):
    """HTTP/1.1 whose requests know the TLS connection that they came over."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's
        super().connection_made(transport)
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            self.app = _with_extension(self.app, _tls_extension(connection))


def client_blessing(scope: Scope) -> Blessing | None:
    """The chain that the client presented on this request's connection; None when it presented none."""
    chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")
    return Blessing.from_pem("".join(chain)) if chain else None


def _tls_extension(connection: ssl.SSLObject) -> dict[str, Any]:
    blessing = peer_blessing(connection)
    return {
        "server_cert": None,
        "client_cert_chain": [to_pem([one]) for one in blessing.certificates] if blessing else [],
        "client_cert_name": blessing.leaf.subject.rfc4514_string() if blessing else None,
        # A chain that OpenSSL does not accept never gets here: the handshake fails.
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(connection.version() or ""),
        "cipher_suite": None,
    }


def _with_extension(app: Any, extension: dict[str, Any]) -> ASGIApp:
    async def with_tls(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**scope.get("extensions", {}), "tls": extension}
        await app({**scope, "extensions": extensions}, receive, send)

    return with_tls
