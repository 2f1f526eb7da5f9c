"""API servers that keep the connection open and send nothing, as a proxy before a dead one does."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from aiohttp import web

from certs import api_server
from certs.api_server import Access, ApiServerRefusal, BoundedApiClient
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

    monkeypatch.setattr(api_server, "REQUEST_SECONDS", (5.0, 0.2))
    async with answering(never) as url:
        api = BoundedApiClient(Access(url))
        with pytest.raises(httpx.ReadTimeout):
            await asyncio.to_thread(api.json, "GET", "/api/v1/secrets")
        over.set()
    assert asked == ["/api/v1/secrets"]


async def test_a_watch_gives_whole_events_and_its_error_is_raised() -> None:
    event = {"type": "ADDED", "object": {"metadata": {"name": "é", "resourceVersion": "8"}}}
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    lines = b"\n\n".join(json.dumps(one, ensure_ascii=False).encode() for one in (event, event, gone))

    async def answer(request: web.Request) -> web.StreamResponse:
        assert dict(request.query) == {
            "labelSelector": "a=b",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(api_server.WATCH_SECONDS),
            "resourceVersion": "7",
        }
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(lines), 7):
            await response.write(lines[start : start + 7])
        await response.write(b"\n")
        return response

    seen: list[object] = []

    def follow(url: str) -> None:
        api = BoundedApiClient(Access(url))
        seen.extend(api.events("/api/v1/namespaces", version="7", query={"labelSelector": "a=b"}))

    async with answering(answer) as url:
        with pytest.raises(ApiServerRefusal, match="too old") as caught:
            await asyncio.to_thread(follow, url)
    assert caught.value.status == 410
    assert seen == [event, event]


async def test_what_the_api_server_refuses_is_raised_with_its_status() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "message": "no"}, status=403)

    async with answering(answer) as url:
        api = BoundedApiClient(Access(url))
        for call in (lambda: api.json("GET", "/x"), lambda: next(api.events("/x", version="1"))):
            with pytest.raises(ApiServerRefusal, match="403 Forbidden"):
                await asyncio.to_thread(call)
