"""Probes, asked of a server."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest
from aiohttp import web

from tests.waiting import PATIENCE_SECONDS
from vkube.runner.probes import ask


async def no_program(_command: Sequence[str]) -> int:
    raise AssertionError("nothing is to be executed")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
@pytest.mark.parametrize("kind", ["httpGet", "tcpSocket"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_probe_asks_an_address_of_either_family(kind: str, host: str) -> None:
    async def healthy(_request: web.Request) -> web.Response:
        return web.Response()

    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/healthz", healthy)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        port = runner.addresses[0][1]
        asked = {"path": "/healthz", "port": port, "host": host}
        probe = {kind: asked, "timeoutSeconds": PATIENCE_SECONDS}
        assert await ask(probe, {"name": "app"}, "192.0.2.1", no_program)
    finally:
        await runner.cleanup()
