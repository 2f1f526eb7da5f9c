"""The client's watch: a pod agent that lives and has nothing new is waited for, one that is silent is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest

from agent_client import AgentClient, AgentError, messages
from pod_agent import agent_protocol
from pod_agent.agent_protocol import AgentProtocol
from pod_agent.http.connection import HttpConnection
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import HeldLists
from service.bounded_log import BoundedLog
from service.log import get_logger
from tests.chains import realm
from tests.clock import Clock
from tests.pod_agent.published_lists import Source
from tests.pod_agent.running import short_directory
from tests.waiting import PATIENCE_SECONDS, until


@asynccontextmanager
async def pod_agent(directory: Path) -> AsyncIterator[Path]:
    """The agent protocol, with an identity that does not change."""
    clock, one = Clock(), realm()
    current = CurrentIdentity(clock)
    renew_at = clock() + timedelta(minutes=30)
    await current.set(Identity(1, one.replica, one.blessing, one.blessing.presented, one.roots, renew_at))
    path = directory / "agent.sock"
    handler = AgentProtocol(current, HeldLists(Source())).handler()
    made = partial(HttpConnection, handler, BoundedLog(get_logger("pod_agent")))
    server = await asyncio.get_running_loop().create_unix_server(made, path)
    yield path
    await current.close()
    server.close()


@pytest.mark.parametrize(("asked", "lines"), [({"heartbeat": "true"}, ["", "", ""]), ({}, [])])
async def test_a_pod_agent_with_nothing_new_sends_empty_lines_to_a_client_that_asks_for_them(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], lines: list[str]
) -> None:
    monkeypatch.setattr(agent_protocol, "HEARTBEAT_SECONDS", 0.1)
    with short_directory() as directory:
        async with pod_agent(directory) as path:
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with (
                httpx.AsyncClient(transport=transport, base_url="http://agent") as client,
                client.stream("GET", "/v1/watch", params=asked) as response,
            ):
                following = response.aiter_lines()
                assert json.loads(await anext(following))["version"] == 1
                for expected in lines:
                    assert await anext(following) == expected
                if not lines:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(following), 1)


def versions(path: Path) -> list[int]:
    """Those that the client's watch shows until it ends."""
    with AgentClient(path, timeout_seconds=PATIENCE_SECONDS) as client:
        return [one.version for one in client.watch()]


async def test_the_clients_watch_skips_empty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_protocol, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(messages, "SILENT_SECONDS", 1.0)

    async def goes_on() -> bool:
        with short_directory() as directory:
            async with pod_agent(directory) as path:
                watching = asyncio.create_task(asyncio.to_thread(versions, path))
                await asyncio.wait([watching], timeout=2)
                lasted = not watching.done()
            with suppress(AgentError):
                assert await watching == [1]
        return lasted

    # Again, where the machine was so busy that no line came for a second.
    await until("a watch that goes on", goes_on)


async def test_the_clients_watch_ends_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_protocol, "HEARTBEAT_SECONDS", 3600.0)
    monkeypatch.setattr(messages, "SILENT_SECONDS", 1.0)
    with short_directory() as directory:
        async with pod_agent(directory) as path:
            with pytest.raises(AgentError, match="stream ended"):
                await asyncio.to_thread(versions, path)
