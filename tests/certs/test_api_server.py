"""API servers that keep the connection open and send nothing, as a proxy before a dead one does."""

from __future__ import annotations

import asyncio

import pytest
import urllib3
from aiohttp import web
from kubernetes import client

from certs import api_server
from certs.api_server import BoundedApiClient
from tests.web_servers import answering


async def test_a_call_that_is_not_answered_is_made_once_and_ends_after_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    over = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        await over.wait()
        return web.Response()

    monkeypatch.setattr(api_server, "REQUEST_SECONDS", (5, 0.2))
    async with answering(never) as url:
        api = client.CoreV1Api(BoundedApiClient(client.Configuration(host=url)))
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            await asyncio.to_thread(api.read_namespaced_secret, "name", "shop")
        over.set()
    assert asked == ["/api/v1/namespaces/shop/secrets/name"]
