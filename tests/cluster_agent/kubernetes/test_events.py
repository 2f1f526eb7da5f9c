"""Events about misused credentials, at an API server that takes its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from aiohttp import web

from cluster_agent.errors import Forbidden
from cluster_agent.kubernetes.events import NamespaceEvents
from cluster_agent.model import Application, Secret
from tests.clock import Clock
from tests.cluster_agent.kubernetes.test_api import api_of
from tests.waiting import until


async def test_attack_events_of_one_namespace_leave_room_for_those_of_another(tmp_path: Path) -> None:
    clock, asked, come = Clock(), list[str](), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path.split("/")[4])
        await come.wait()
        return web.json_response({})

    def misused(namespace: str, number: int) -> Secret:
        application = Application(namespace, "web")
        return Secret(f"{namespace}-{number}", application, "f", clock(), clock() + timedelta(days=1), False)

    async with api_of(answer, tmp_path) as api:
        events = NamespaceEvents(api, clock)
        for number in range(20):
            events.report(misused("hostile", number), Forbidden("TokenNotAuthenticated", "junk"))
        events.report(misused("shop", 1), Forbidden("TokenNotAuthenticated", "junk"))
        await until("the Event of the other", lambda: "shop" in asked)
        assert asked.count("hostile") == 2
        come.set()
        await asyncio.sleep(0)
