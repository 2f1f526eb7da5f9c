"""What `/readyz` of each program answers when a background task does not recover; `/healthz` stays."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from starlette.types import ASGIApp

from blessings import Principal
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.program import ports
from pod_agent.health import health_handler
from pod_agent.http.exchange import Request
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.metrics import Metrics as PodAgentMetrics
from service.supervisor import Supervisor, Task
from tests.chains import NOW, realm
from tests.clock import Clock
from webhook.server import create_app


async def of_cluster_agent(supervisor: Supervisor) -> ASGIApp:
    api = cast(Any, SimpleNamespace(started=True))
    claims = cast(Any, SimpleNamespace(waits=None, room=SimpleNamespace(kind="own")))
    return ports._health_app(api, claims, Metrics(), supervisor, asyncio.Event())


async def of_webhook(supervisor: Supervisor) -> ASGIApp:
    return create_app(readiness=[supervisor.problem])


async def of_pod_agent(supervisor: Supervisor) -> ASGIApp:
    clock = Clock(NOW)
    current, given = CurrentIdentity(clock), realm()
    blessing = given.blessing
    await current.set(
        Identity(1, Principal.create(), blessing, blessing.presented, given.roots, blessing.not_after)
    )
    handler = health_handler(current, PodAgentMetrics(current, clock), supervisor)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        answer = await handler(Request(scope["method"], scope["path"], {}, lambda: None))
        await send({"type": "http.response.start", "status": answer.status, "headers": []})
        await send({"type": "http.response.body", "body": answer.content})

    return app


@pytest.mark.parametrize("program", [of_cluster_agent, of_webhook, of_pod_agent])
async def test_readiness_turns_with_the_name_of_the_task_and_health_stays(program: Any) -> None:
    now = 0.0
    task = Task("work", asyncio.Event().wait, 1.0, "not done", unready_after_seconds=60.0)
    app = await program(Supervisor([task], clock=lambda: now))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://program") as client:
        assert (await client.get("/readyz")).status_code == 200
        now = 61.0
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "the background task work has not worked for 61 s" in answer.text
        assert (await client.get("/healthz")).status_code == 200
