"""The runner beside an API server that sends nothing, or refuses."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client
from structlog.testing import capture_logs

from tests.vkube.runner.resources import MemoryResources
from tests.waiting import PATIENCE_SECONDS, until
from tests.web_servers import answering
from vkube.runner import BackOff, Node, RunnerError, RunningPod, Surroundings, api_client
from vkube.runner.api_client import TypedApiClient
from vkube.runner.kubernetes_node import KubernetesNode
from vkube.runner.pod_objects import PodObjects

CONTAINER = {"name": "app", "command": ["python", "-c", "import time; time.sleep(600)"]}
METADATA = {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"}
POD = {"metadata": METADATA, "spec": {"containers": [CONTAINER], "terminationGracePeriodSeconds": 20}}
DELETED = {**POD, "metadata": {**METADATA, "deletionTimestamp": "2026-11-28T00:00:00Z"}}

BAD, GOOD = ({**POD, "metadata": {**METADATA, "name": name, "uid": name}} for name in ("bad", "good"))


class _FailingNode(Node):
    """Cannot run the Pod `bad`."""

    error: Exception | None = None

    async def run(
        self, pod: Mapping[str, Any], changed: Callable[[RunningPod], None] = lambda _: None
    ) -> RunningPod:
        if self.error is not None and pod["metadata"]["name"] == "bad":
            raise self.error
        return await super().run(pod, changed)


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


async def test_the_end_of_the_watch_of_a_node_that_ended_is_no_warning() -> None:
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await ended.wait()
            assert request.transport is not None
            request.transport.abort()
            return response
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    async with answering(answer) as url:
        with capture_logs() as logs, setting(ended):
            before = set(threading.enumerate())
            async with running_node(url):
                (watching,) = {one for one in threading.enumerate() if one.name == "watch-pods"} - before
            ended.set()
            await asyncio.to_thread(watching.join)
    assert [one for one in logs if one["event"] == "watch lost"] == []


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


async def test_a_node_does_not_wait_for_a_deletion_that_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vkube.runner.kubernetes_node._LAST_SECONDS", math.inf)
    refused, over = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            refused.set()
            return web.json_response({}, status=403)
        if "watch" in request.query:
            return await silent(request, over)
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [DELETED]})

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with asyncio.timeout(PATIENCE_SECONDS):
                async with running_node(url):
                    await refused.wait()


async def test_a_pod_that_the_disk_has_no_room_for_has_failed_and_the_next_one_runs() -> None:
    statuses: dict[str, Any] = {}
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/bad/status"):
            statuses.update((await request.json())["status"])
        return await listing(request, over)

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with running_node(url, OSError(errno.ENOSPC, "No space left on device")) as node:
                await until("the good Pod", lambda: "good" in node.pods)
                await until("the bad Pod's status", lambda: statuses)
    assert statuses["phase"] == "Failed"
    assert statuses["reason"] == "NotStarted"
    assert "No space left on device" in statuses["message"]


async def test_an_unforeseen_error_is_logged_and_the_next_pod_runs() -> None:
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        return await listing(request, over)

    async with answering(answer) as url:
        with capture_logs() as logs, setting(over):
            async with running_node(url, ValueError("unforeseen")) as node:
                await until("the good Pod", lambda: "good" in node.pods)
    assert [one["pod"] for one in logs if one["log_level"] == "error"] == ["bad"]


@pytest.mark.parametrize("is_listed", [True, False], ids=["missing from a list", "by its event"])
async def test_an_unsupported_pod_that_is_deleted_is_forgotten(is_listed: bool) -> None:
    """Seen by its UID, which is handled anew."""
    lists = writes = 0
    changed, over = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal lists, writes
        if request.path.endswith("/bad/status"):
            writes += 1
            changed.set()
        if "watch" in request.query:
            await changed.wait()
            if not is_listed:
                events = [{"type": kind, "object": BAD} for kind in ("DELETED", "ADDED")]
                return await silent(request, over, *events)
            if lists < 3:
                return web.json_response({}, status=410)
            return await silent(request, over)
        if request.method == "GET":
            lists += 1
        items = [] if lists == 2 else [BAD]
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": items})

    async with answering(answer) as url:
        with capture_logs(), setting(over):
            async with running_node(url, RunnerError("unsupported")):
                await until("its second handling", lambda: writes > 1)


@pytest.mark.parametrize("call", ["write", "delete"])
async def test_what_is_refused_is_tried_again_after_growing_pauses(call: str) -> None:
    requests = 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        return web.json_response({}, status=403 if requests < 6 else 200)

    async with answering(answer) as url:
        api = TypedApiClient(client.Configuration(host=url))
        objects = PodObjects(client.CoreV1Api(api), BackOff(first=0.001, longest=0.004))
        with capture_logs() as logs:
            await (objects.write(POD, dict) if call == "write" else objects.delete(POD))
    assert [one["again_in_seconds"] for one in logs if "again_in_seconds" in one] == [
        0.001,
        0.002,
        0.004,
        0.004,
        0.004,
    ]


async def silent(request: web.Request, over: asyncio.Event, *events: Mapping[str, Any]) -> web.StreamResponse:
    """A watch with these events."""
    response = web.StreamResponse()
    await response.prepare(request)
    for event in events:
        await response.write(f"{json.dumps(event)}\n".encode())
    await over.wait()
    return response


async def listing(request: web.Request, over: asyncio.Event) -> web.StreamResponse:
    """The bad Pod, then the good one."""
    if "watch" in request.query:
        return await silent(request, over)
    return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [BAD, GOOD]})


@contextmanager
def setting(event: asyncio.Event) -> Iterator[None]:
    """Sets it at the end, also of a test that fails: the server waits for its answers."""
    try:
        yield
    finally:
        event.set()


@asynccontextmanager
async def running_node(url: str, error: Exception | None = None) -> AsyncIterator[KubernetesNode]:
    """A node which has that error with the Pod `bad`."""
    # Not below pytest's directory, whose path is too long for Unix sockets.
    with tempfile.TemporaryDirectory(prefix="vk-") as short:
        api = TypedApiClient(client.Configuration(host=url))
        pods = _FailingNode(Path(short), Surroundings(MemoryResources(), images={}))
        pods.error = error
        node = KubernetesNode(api, "node", pods)
        async with node.running():
            yield node
