"""The runner beside an API server that keeps its connections open and sends nothing."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

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

    # Not below pytest's directory, whose path is too long for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="vk-") as short:
        async with answering(answer) as url:
            api = TypedApiClient(client.Configuration(host=url))
            node = KubernetesNode(api, "node", Node(Path(short), Surroundings(MemoryResources(), images={})))
            with capture_logs():
                async with node.running():
                    await until("a second list", lambda: lists > 1)
                over.set()
