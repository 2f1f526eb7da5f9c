"""The caller's name for applications that uvicorn serves behind a context of `MutualTLS`.

uvicorn.run(app, port=8443, ssl_context_factory=lambda *_: tls.server("acme:prod:shop"), http=PeerNames)

request.state.peer_name        # in Starlette and FastAPI: Name('acme:prod:shop:web:web-1')
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from agent_client.following_context import JudgedObject


class PeerNames(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # uvicorn chooses its base at run time
    """uvicorn's HTTP protocol, which puts the peer's `Name` into the state of each request, as `peer_name`.
    Without mutual TLS there is none."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        connection = transport.get_extra_info("ssl_object")
        if isinstance(connection, JudgedObject):
            self.app_state = {**self.app_state, "peer_name": connection.peer_name}
        super().connection_made(transport)
