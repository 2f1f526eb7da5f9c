"""Events about misused credentials, at an API server that takes its time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from cluster_agent.errors import Forbidden
from cluster_agent.kubernetes.api import KubernetesApi
from cluster_agent.kubernetes.events import NamespaceEvents
from cluster_agent.model import Application, Secret
from tests.clock import Clock


class SlowApi(KubernetesApi):
    """Answers no call before `come`. Without a connection: on a busy machine, one may end before its call."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.come = asyncio.Event()

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(path)
        await self.come.wait()
        return body


async def test_attack_events_of_one_namespace_leave_room_for_those_of_another() -> None:
    clock, api = Clock(), SlowApi()
    events = NamespaceEvents(api, clock)

    def report(namespace: str, number: int) -> None:
        application, ends = Application(namespace, "web"), clock() + timedelta(days=1)
        misused = Secret(f"{namespace}-{number}", application, "f", clock(), ends, forgotten=False)
        events.report(misused, Forbidden("TokenNotAuthenticated", "junk"))

    for number in range(20):
        report("hostile", number)
    report("shop", 1)
    await asyncio.sleep(0)
    written = [f"/api/v1/namespaces/{name}/events" for name in ("hostile", "hostile", "shop")]
    assert api.asked == written
    api.come.set()
    for _ in range(3):  # the answers arrive, the tasks end, their ends are noted
        await asyncio.sleep(0)
    report("hostile", 20)
    await asyncio.sleep(0)
    assert api.asked == [*written, written[0]]
