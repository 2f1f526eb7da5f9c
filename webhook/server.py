"""The HTTP edge: carries bytes to `admission`, and its answer back.

`POST /mutate` is for API servers, `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus. There
are no other routes, and nothing that a client sends is kept: API servers do not authenticate to webhooks by
default, so any client may call, and a call must cost nothing.

`Connection` answers reviews itself; the application below is for the rest.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import structlog
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from service.acceptor import Acceptor
from webhook.answers import Answers
from webhook.connections import Connection, Handling
from webhook.metrics import Metrics
from webhook.shares import Shares

Background: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]
"""A context that runs beside the admissions. They are entered in order before the server listens, and left in
reverse order after it stopped. One that cannot start raises an error, and the program ends."""

ReadinessCheck: TypeAlias = Callable[[], str | None]
"""Returns why the server is not ready, or None when it is."""

HANDSHAKE_SECONDS = 5.0
# What the kernel takes at once of one client, uvloop and OpenSSL hold too, each in a buffer that it keeps
# for the connection. This is more than nearly every review.
_RECEIVE_BUFFER = 16 * 1024  # bytes; the kernel doubles it
_TICKS_PER_SECOND = 10  # of uvicorn's main loop

_log = structlog.stdlib.get_logger("webhook")


def create_app(
    *,
    background: Sequence[Background] = (),
    readiness: Sequence[ReadinessCheck] = (),
    metrics: Metrics | None = None,
) -> FastAPI:
    """The ASGI application of everything but the reviews.

    Args:
        background: runs as long as the server does.
        readiness: called by `/readyz`; one that returns a reason makes the answer 503.
        metrics: the content of `/metrics`; by default a new one.
    """
    metrics = metrics or Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for enter in background:
                await running.enter_async_context(enter())
            yield

    # Without the interactive documentation, which loads scripts from other hosts.
    app = FastAPI(title="vanadium webhook", lifespan=lifespan, openapi_url=None)
    app.state.metrics = metrics

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        problems = [problem for check in readiness if (problem := check()) is not None]
        if problems:
            return JSONResponse({"status": "not ready", "problems": problems}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.exposition(), media_type=metrics.content_type)

    return app


class Server(uvicorn.Server):
    """Accepts connections on `listening` within the limits of `shares`. A supervisor runs `task`.

    Connections that come before the first certificate wait in the kernel.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: ASGIApp,
        context: ssl.SSLContext,
        listening: socket.socket,
        answers: Answers,
        shares: Shares,
    ) -> None:
        super().__init__(config)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._context = context
        self._listening = listening
        self._acceptor = Acceptor("connections", listening, self._admit)
        self._opened = asyncio.Event()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._shares = shares
        self._handling = Handling(
            answers, app, shares, self.server_state, lambda: asyncio.get_running_loop().time()
        )
        self.task = replace(self._acceptor.task, run=self._accept)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit(uvicorn.config.STARTUP_FAILURE)
        self.servers = []  # uvicorn's own list, which stays empty
        self._log_started_message([self._listening])
        self._opened.set()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._acceptor.stop()
        self._listening.close()
        if self._handshakes:
            await asyncio.wait(self._handshakes)
        await super().shutdown()

    async def on_tick(self, counter: int) -> bool:
        leaves = await super().on_tick(counter)
        if counter % _TICKS_PER_SECOND == 0:
            headers = self.server_state.default_headers
            self._handling.date = b"".join(b"%b: %b\r\n" % header for header in headers)
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.look(now)  # type: ignore[union-attr]  # ours; uvicorn's protocols are not used
        return leaves

    async def _accept(self) -> float | None:
        await self._opened.wait()
        return await self._acceptor.accept()

    def _admit(self, accepted: socket.socket, client: Any) -> None:
        connection = Connection(self._handling)

        place = self._shares.admit(client[0], connection.abort)
        if place is None:
            accepted.close()
            return
        connection.place = place
        accepted.setblocking(False)
        task = asyncio.create_task(self._shake_hands(accepted, connection))
        connection.handshake = task
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=HANDSHAKE_SECONDS,
            )
        except OSError as error:  # TLS errors, deadlines and lost connections are of this kind
            _log.debug("handshake failed", client=connection.place.network, error=str(error))
        finally:
            if not connection.made:
                self._shares.release(connection.place)
