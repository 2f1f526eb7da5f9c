"""The server of the page, on a port of loopback, with the tasks that read the sources."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from service.supervisor import Supervisor, Task
from service.threads import in_daemon_thread
from service.uvicorn_server import options
from vkube.dashboard import gate
from vkube.dashboard.bounded_server import BoundedServer
from vkube.dashboard.gate import Gate
from vkube.dashboard.identities import Place
from vkube.dashboard.page import page
from vkube.dashboard.sources import Source
from vkube.dashboard.state import State

LOOPBACK = "127.0.0.1"
_MOST_CONNECTIONS = 64
_DRAIN_SECONDS = 1
_ASSETS = {"style.css": "text/css", "script.js": "text/javascript"}


def application(allowed: Gate, token: str, state: Callable[[], State]) -> ASGIApp:
    """The page and what it loads, below a path that begins with `token`."""

    async def shown(request: HttpRequest) -> Response:
        place = Place.of(dict(request.query_params))
        return HTMLResponse(page(state(), place, datetime.now(UTC)))

    def asset(name: str, kind: str) -> Route:
        content = resources.files("vkube.dashboard").joinpath("assets", name).read_bytes()

        async def loaded(_: HttpRequest) -> Response:
            return Response(content, media_type=kind)

        return Route(f"/{token}/{name}", loaded)

    assets = [asset(name, kind) for name, kind in _ASSETS.items()]
    return _guarded(Starlette(routes=[Route(f"/{token}/", shown), *assets]), allowed)


def _guarded(app: ASGIApp, allowed: Gate) -> ASGIApp:
    extra = [(name.lower().encode(), value.encode()) for name, value in gate.HEADERS.items()]

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        refused = allowed.refusal(gate.Request(scope["path"], headers))
        answer = app if refused is None else PlainTextResponse(f"{refused.reason}\n", refused.status)
        await answer(scope, receive, with_headers)

    return guarded


async def serve(
    listening: socket.socket,
    app: ASGIApp,
    sources: Sequence[Source[Any, Any]],
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serves until `stop` is set. `ready` is called once connections are accepted."""
    config = uvicorn.Config(app, http="h11", **options(_DRAIN_SECONDS))
    # Any user of the machine may connect, and a request takes moments: the oldest connection makes room.
    server = BoundedServer(config, "connections", listening, _MOST_CONNECTIONS)
    tasks = [
        Task(f"source-{number}", partial(in_daemon_thread, "source", source.read), 1.0, "source not read")
        for number, source in enumerate(sources)
    ]
    supervisor = Supervisor([*tasks, server.listener.acceptor.task])
    async with supervisor.running():
        serving = asyncio.create_task(server.serve(sockets=[]))
        stopping = asyncio.create_task(stop.wait())
        ready()
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await serving
    for source in sources:
        source.close()
