"""The ports: the main one over TLS, the one for probes and metrics, and, if asked for, that of OIDC
discovery."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from prometheus_client import make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from cluster_agent.api.app import served
from cluster_agent.audit.refusals import Refusals
from cluster_agent.claims.claim_keeper import ClaimKeeper
from cluster_agent.errors import NotAuthenticated
from cluster_agent.jwt.discovery import Discovery
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.server.certificate import Serving
from cluster_agent.server.connection_limits import ConnectionLimits
from cluster_agent.server.servers import DRAIN_SECONDS, AgentServer
from cluster_agent.settings import Settings
from service.listening import listen, stop_on_signal
from service.supervisor import Supervisor
from service.uvicorn_server import options, serve_until

if TYPE_CHECKING:
    from cluster_agent.monitoring.tracing import Tracing

HANDSHAKE = "handshake"  # the path in the record of a refusal before any request


class Ports:
    """The servers of all ports. Adds the tasks that accept their connections to `supervisor`."""

    def __init__(
        self,
        settings: Settings,
        app: FastAPI,
        claims: ClaimKeeper,
        serving: Serving,
        metrics: Metrics,
        tracing: Tracing | None,
        refusals: Refusals,
        supervisor: Supervisor,
        discovery: Discovery | None,
    ) -> None:
        common = options(DRAIN_SECONDS)
        # Each port has its own limits: a client that fills one leaves room at the other.
        limits = _connection_limits(settings, settings.nameless_share)
        health_limits = _connection_limits(settings, 1)  # no client has a name there
        metrics.watch_connections(limits)

        def untrusted(address: str, why: str) -> None:
            refusal = NotAuthenticated("HandshakeRefused", why)
            metrics.refused(HANDSHAKE, refusal)
            refusals.add(HANDSHAKE, refusal, address=address)

        self._delay_seconds = settings.shutdown_delay_seconds
        self._leaving = asyncio.Event()
        self._api_port = listen(settings.host, settings.port)
        self._health_port = listen(settings.host, settings.health_port)
        whole = served(app)
        traced = whole if tracing is None else tracing.requests(whole)
        self._api = AgentServer(
            uvicorn.Config(traced, **common),
            serving.context,
            limits,
            metrics.turned_away,
            untrusted,
            name="connections",
            listening=self._api_port,
        )
        self._health = AgentServer(
            uvicorn.Config(_health_app(self._api, claims, metrics, supervisor, self._leaving), **common),
            None,
            health_limits,
            metrics.turned_away,
            untrusted,
            name="health-connections",
            listening=self._health_port,
        )
        self._servers = [(self._api, self._api_port), (self._health, self._health_port)]
        if discovery is not None:
            port = listen(settings.host, settings.oidc_port, "--host, --oidc-port")
            public = AgentServer(
                uvicorn.Config(discovery.app, **common),
                discovery.context,
                # Its clients have no names, and behind an ingress they have one address.
                replace(_connection_limits(settings, 1), most_from_address=settings.max_connections),
                metrics.turned_away,
                untrusted,
                name="oidc-connections",
                listening=port,
            )
            self._servers.append((public, port))
        supervisor.add(*(server.acceptor.task for server, _ in self._servers))

    async def serve(self) -> None:
        """Serves all until SIGTERM, and what was begun until it is answered."""
        stop_on_signal(self._leaving)
        await serve_until(self._leaving, self._servers, delay_seconds=self._delay_seconds)


def _connection_limits(settings: Settings, nameless_share: float) -> ConnectionLimits:
    return ConnectionLimits(
        settings.max_connections,
        settings.max_connections_per_address,
        handshake_seconds=settings.handshake_seconds,
        request_seconds=settings.request_seconds,
        nameless_share=nameless_share,
    )


def _health_app(
    api: AgentServer, claims: ClaimKeeper, metrics: Metrics, supervisor: Supervisor, leaving: asyncio.Event
) -> Starlette:
    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "root": claims.room.kind})

    async def readyz(_request: Request) -> JSONResponse:
        serves = api.started and not leaving.is_set()
        if serves and (reason := claims.waits or supervisor.problem()):
            return JSONResponse({"ready": False, "reason": reason}, 503)
        return JSONResponse({"ready": serves}, 200 if serves else 503)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Mount("/metrics", make_asgi_app(metrics.registry)),
        ]
    )
