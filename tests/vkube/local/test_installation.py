"""Local mode's own programs, and what local mode does with a Pod that it cannot start."""

from __future__ import annotations

import errno
import json
import socket
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from service.errors import CallUnanswered
from vkube.errors import LocalModeError
from vkube.local.admission import admit
from vkube.local.cluster import LocalCluster, LocalSettings
from vkube.local.installation import local_cluster
from vkube.local.manifests import Manifests
from vkube.local.service import Service
from webhook.reconciler.reconcile import Turn

POD = {
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"containers": [{"name": "app", "command": ["echo"]}]},
}


async def test_ports_that_another_program_takes_while_the_services_start_are_not_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = Service.start
    with ExitStack() as stack:

        async def start_later(
            name: str, module: str, settings: Mapping[str, object], directory: Path
        ) -> Service:
            for port in {settings["port"], settings.get("health_port", settings["port"])}:
                with suppress(OSError):  # it is taken already
                    stack.enter_context(socket.create_server(("127.0.0.1", cast(int, port))))
            return await start(name, module, settings, directory)

        monkeypatch.setattr(Service, "start", start_later)
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vk-"))
        async with local_cluster(Path(directory), LocalSettings()) as cluster:
            assert await cluster.apply(Manifests()) == []


async def test_a_pod_that_the_disk_has_no_room_for_is_told_and_makes_the_exit_code_1() -> None:
    class FullNode:
        pods = ()

        async def run(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    notes: list[str] = []
    anything: Any = SimpleNamespace(data={}, claims=set())
    node: Any = FullNode()
    settings = LocalSettings(on_note=notes.append)
    cluster = LocalCluster(settings, node, anything, anything, anything, anything, anything, "", anything)
    assert await cluster.apply(Manifests(workloads=[POD, POD])) == []
    assert notes == ["Pod n/p is not run: [Errno 28] No space left on device"] * 2
    assert cluster.exit_code() == 1


async def test_a_webhook_may_take_its_time_and_end_a_connection_that_was_idle() -> None:
    """As where many programs share a processor."""
    waits: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        waits.append(request.extensions["timeout"]["read"])
        if len(waits) < 3:
            raise httpx.ReadError("", request=request)
        response = {"uid": json.loads(request.content)["request"]["uid"], "allowed": True}
        return httpx.Response(200, json={"response": response})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://webhook") as client:
        assert (await admit(client, POD)).patch == []
    assert waits == [60.0] * 3


async def test_a_webhook_that_is_gone_is_told() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="https://webhook") as client:
        with pytest.raises(LocalModeError, match="did not answer for pod p: ConnectError"):
            await admit(client, POD)


async def test_a_secret_is_asked_for_again_where_the_cluster_agent_did_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = 0

    def reconcile(*_: object, **__: object) -> Turn:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise CallUnanswered("ConnectionEnded", "as of one that was too slow")
        return Turn()

    monkeypatch.setattr("vkube.local.cluster.reconcile", reconcile)
    monkeypatch.setattr(LocalCluster, "administrator", lambda _: nullcontext())
    anything: Any = SimpleNamespace()
    cluster = LocalCluster(
        LocalSettings(), anything, anything, anything, anything, anything, anything, "", anything
    )
    cluster._reconcile("shop", {"web"})
    assert attempts == 3
