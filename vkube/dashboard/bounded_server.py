"""uvicorn on a listener with a limit."""

from __future__ import annotations

import socket

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pod_agent.listener import BoundedListener, Served
from service.uvicorn_server import Server


class BoundedServer(Server):
    """A server with at most `most` connections, of which the oldest makes room for a further one.

    A supervisor runs the task of the listener's acceptor.
    """

    def __init__(self, config: uvicorn.Config, name: str, listening: socket.socket, most: int) -> None:
        super().__init__(config)
        self.listener = BoundedListener(name, listening, most, self._protocol, brief=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # uvicorn's own list, which stays empty
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.listener.stop()
        await super().shutdown(None)

    def _protocol(self) -> _Connection:
        return _Connection(self.config, self.server_state, {})


class _Connection(H11Protocol, Served):
    @property
    def is_busy(self) -> bool:
        # uvicorn's annotation leaves out that there is no cycle before the first request.
        return self.cycle is not None and not self.cycle.response_complete

    def end(self) -> None:
        self.shutdown()
