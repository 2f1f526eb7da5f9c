"""Watches of an API server that keeps the connection open and sends nothing, or nothing but bookmarks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from aiohttp import web

from certs import api_server
from certs.api_server import Access, BoundedApiClient
from tests.web_servers import answering
from tests.webhook.applying import CONFIGURATION
from webhook.namespace_defaults import NamespaceDefaults
from webhook.reconciler.watch import Cluster, Item, Seen, Watch

BOOKMARK: dict[str, object] = {
    "type": "BOOKMARK",
    "object": {"kind": "Namespace", "metadata": {"resourceVersion": "7"}},
}
NO_DEFAULTS = NamespaceDefaults(CONFIGURATION, images_permitted=False)
SHOP = {"metadata": {"name": "shop", "resourceVersion": "5"}}


class Peer:
    """Lists one namespace. Each watch sends the next of `events`, and then is silent, or ends."""

    def __init__(self, *events: list[dict[str, object]], ends: bool) -> None:
        self.events = list(events)
        self.ends = ends
        self.over = asyncio.Event()
        self.asked: list[dict[str, str]] = []
        self.changed: list[str] = []

    async def rounds(self, work: Callable[[Watch], None]) -> None:
        async with answering(self._answer) as url:
            api = BoundedApiClient(Access(url))
            try:
                await asyncio.to_thread(work, Cluster(self.changed.append, NO_DEFAULTS).namespace_watch(api))
            finally:
                self.over.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "5"}, "items": [SHOP]})
        response = web.StreamResponse()
        await response.prepare(request)
        for event in self.events.pop(0):
            await response.write(json.dumps(event).encode() + b"\n")
        if not self.ends:
            await self.over.wait()
        return response


async def test_a_watch_that_is_silent_is_given_up_and_the_next_round_lists_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_server, "SILENT_SECONDS", 1.0)
    peer = Peer([], [], ends=False)

    def work(watch: Watch) -> None:
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                watch.round()

    await peer.rounds(work)
    assert ["watch" in query for query in peer.asked] == [False, True, False, True]


def test_a_silent_watch_is_given_up_after_a_minute_and_a_half() -> None:
    assert api_server.SILENT_SECONDS == 90


async def test_a_bookmark_shows_that_the_server_lives_and_the_next_watch_continues_after_it() -> None:
    peer = Peer([BOOKMARK], [], ends=True)
    ages: list[float] = []

    def work(watch: Watch) -> None:
        ages.append(watch.age.seconds)
        watch.round()
        ages.append(watch.age.seconds)
        watch.round()

    await peer.rounds(work)
    first, second = (query for query in peer.asked if "watch" in query)
    assert (first["allowWatchBookmarks"], first["resourceVersion"]) == ("true", "5")
    assert second["resourceVersion"] == "7"
    assert peer.changed == ["shop"]
    assert ages[0] == 0 < ages[1] < 60


ACCOUNTS = [f"account-{number}" for number in range(5)]


async def listed_in_pages(request: web.Request) -> web.Response:
    """Two service accounts at a time."""
    begin = int(request.query.get("continue", "0"))
    items = [{"metadata": {"namespace": "shop", "name": name}} for name in ACCOUNTS[begin : begin + 2]]
    metadata = {"resourceVersion": "5", "continue": str(begin + 2) if begin + 2 < len(ACCOUNTS) else ""}
    return web.json_response({"metadata": metadata, "items": items})


async def test_a_list_is_read_in_pages_and_taken_as_a_whole() -> None:
    changed: list[str] = []
    cluster = Cluster(changed.append, NO_DEFAULTS)
    cluster.take_namespaces(Seen([Item("", "shop", is_going=False)], is_complete=True))
    async with answering(listed_in_pages) as url:
        api = BoundedApiClient(Access(url))
        version = await asyncio.to_thread(cluster.service_account_watch(api).list)
    assert version == "5"
    assert cluster.service_accounts("shop") == frozenset(ACCOUNTS)
    assert changed == ["shop", "shop"]


async def test_attack_objects_of_any_size_are_listed_in_pages_of_few_megabytes() -> None:
    """A tenant's service accounts may have a quarter of a mebibyte of annotations each."""
    limits: list[int] = []

    async def large(request: web.Request) -> web.Response:
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        limits.append(limit)
        end = min(begin + limit, 60)
        note = {"note": "n" * (256 << 10)}
        items = [
            {"metadata": {"namespace": "shop", "name": f"account-{number}", "annotations": note}}
            for number in range(begin, end)
        ]
        metadata = {"resourceVersion": "5", "continue": str(end) if end < 60 else ""}
        return web.json_response({"metadata": metadata, "items": items})

    cluster = Cluster(lambda _: None, NO_DEFAULTS)
    cluster.take_namespaces(Seen([Item("", "shop", is_going=False)], is_complete=True))
    async with answering(large) as url:
        api = BoundedApiClient(Access(url))
        await asyncio.to_thread(cluster.service_account_watch(api).list)
    assert len(cluster.service_accounts("shop") or ()) == 60
    assert limits[:5] == [500, 62, 7, 14, 28]


def test_attack_an_event_that_changes_no_set_of_service_accounts_is_no_work() -> None:
    changed: list[str] = []
    cluster = Cluster(changed.append, NO_DEFAULTS)
    web, admin = Item("shop", "web", is_going=False), Item("bank", "admin", is_going=False)
    cluster.take_service_accounts(Seen([web, admin], is_complete=True))
    assert sorted(changed) == ["bank", "shop"]
    cluster.take_service_accounts(Seen([web], is_complete=False))
    cluster.take_service_accounts(Seen([web, admin], is_complete=True))
    assert len(changed) == 2
    cluster.take_service_accounts(Seen([web], is_complete=False, is_deletion=True))
    cluster.take_service_accounts(Seen([web], is_complete=False, is_deletion=True))
    cluster.take_service_accounts(Seen([], is_complete=True))
    assert changed[2:] == ["shop", "bank"]
