"""The runner beside an API server that sends nothing, or refuses."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client
from structlog.testing import capture_logs

from tests.vkube.runner.resources import MemoryResources
from tests.waiting import until
from tests.web_servers import answering
from vkube.runner import Node, Surroundings, api_client
from vkube.runner.api_client import TypedApiClient
from vkube.runner.kubernetes_node import KubernetesNode

CONTAINER = {"name": "app", "command": ["python", "-c", "import time; time.sleep(600)"]}
METADATA = {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"}
POD = {"metadata": METADATA, "spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": 20}}
DELETED = {**POD, "metadata": {**METADATA, "deletionTimestamp": "2026-11-28T00:00:00Z"}}


async def test_pods_are_listed_again_after_a_watch_that_was_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(api_client.WATCH, "_request_timeout", (5, 0.2))
    lists, over = 0, asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal lists
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await over.wait()
        lists += request.path.endswith("/pods")
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [], "spec": {}})

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with running_node(url):
                await until("a second list", lambda: lists > 1)


@pytest.mark.parametrize("runs_here", [True, False], ids=["that runs", "of an earlier start"])
async def test_a_pod_is_deleted_although_the_api_server_refused_at_first(runs_here: bool) -> None:
    deletions, is_running, over = 0, asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal deletions
        if request.method == "DELETE":
            deletions += 1
            return web.json_response({}, status=200 if deletions > 1 else 503)
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await is_running.wait()
            event = {"type": "MODIFIED", "object": DELETED}
            await response.write(f"{json.dumps(event)}\n".encode())
            await over.wait()
            return response
        if request.method != "GET":
            return web.json_response({"metadata": {}})
        listed: list[dict[str, Any]] = [POD if runs_here else DELETED]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": listed})

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with running_node(url) as node:
                if runs_here:
                    await until("the Pod", lambda: node.pods)
                is_running.set()
                await until("a second attempt", lambda: deletions > 1)


async def test_a_pod_that_is_ending_when_the_node_ends_has_ended_then() -> None:
    deletes, over = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await deletes.wait()
            await response.write(f"{json.dumps({'type': 'MODIFIED', 'object': DELETED})}\n".encode())
            await over.wait()
            return response
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [POD]})

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with running_node(url) as node:
                await until("the Pod", lambda: node.pods)
                (ending,) = node.pods.values()
                deletes.set()
                await until("its end begins", lambda: not node.pods)
            assert ending.is_finished


@contextmanager
def setting(event: asyncio.Event) -> Iterator[None]:
    """Sets it at the end, also of a test that fails: the server waits for its answers."""
    try:
        yield
    finally:
        event.set()


@asynccontextmanager
async def running_node(url: str) -> AsyncIterator[KubernetesNode]:
    # Not below pytest's directory, whose path is too long for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="vk-") as short:
        api = TypedApiClient(client.Configuration(host=url))
        node = KubernetesNode(api, "node", Node(Path(short), Surroundings(MemoryResources(), images={})))
        async with node.running():
            yield node
