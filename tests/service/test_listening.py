"""How servers listen, and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from service.errors import SettingsError
from service.listening import EVERYWHERE, listen, stop_on_signal
from service.uvicorn_server import Server, options, serve_until
from tests.waiting import PATIENCE_SECONDS


def test_an_address_that_is_taken_is_a_wrong_setting() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(SettingsError) as caught:
        listen("127.0.0.1", taken.getsockname()[1], "--health-port")
    assert str(caught.value).startswith("--health-port: cannot listen on 127.0.0.1 port ")


def test_an_ipv6_address_can_be_listened_on() -> None:
    with listen("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_everywhere_is_both_families(client: str) -> None:
    with listen(EVERYWHERE, 0) as listener:
        address = (client, listener.getsockname()[1])
        with socket.create_connection(address, timeout=PATIENCE_SECONDS):
            accepted, _ = listener.accept()
            accepted.close()


def test_everywhere_is_ipv4_where_there_is_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(EVERYWHERE, 0) as listener:
        assert listener.family == socket.AF_INET
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104


async def test_a_signal_stops_all_servers_after_what_was_begun_is_answered() -> None:
    begun, leaving = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> PlainTextResponse:
        begun.set()
        await leaving.wait()
        await asyncio.sleep(0.2)
        return PlainTextResponse("answered")

    app = Starlette(routes=[Route("/", slow)])
    listeners = [listen("127.0.0.1", 0) for _ in range(2)]
    urls = [f"http://127.0.0.1:{listener.getsockname()[1]}/" for listener in listeners]
    servers = [
        (Server(uvicorn.Config(app, http="h11", **options(PATIENCE_SECONDS))), listener)
        for listener in listeners
    ]
    stop_on_signal(leaving)
    try:
        serving = asyncio.create_task(serve_until(leaving, servers))
        async with httpx.AsyncClient(trust_env=False) as client:
            asking = asyncio.create_task(client.get(urls[0]))
            await begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            assert (await asking).text == "answered"
            await serving
            with pytest.raises(httpx.ConnectError):
                await client.get(urls[1])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
