"""What is read of the objects that a request names, from API servers that answer as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.pod_requests import Vouchers
from tests.cluster_agent.kubernetes.test_api import api_of
from tests.web_servers import Handler

_CREATED = "2026-11-24T12:00:00Z"


@asynccontextmanager
async def vouchers_of(handler: Handler, directory: Path) -> AsyncIterator[Vouchers]:
    async with api_of(handler, directory) as api:
        yield Vouchers(api, ("acme.test/label", "on"), ())


def pod(uid: str = "uid-of-web-1", **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": uid, "creationTimestamp": _CREATED, **metadata},
        "spec": {"nodeName": "node-1"},
        "status": {"phase": "Running"},
    }


async def test_a_service_account_that_was_made_anew_is_read_again(tmp_path: Path) -> None:
    """A Pod of the new one would be denied by the UID of the one before, and its kubelet not ask again."""
    uids = ["first"]
    calls = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal calls
        calls += 1
        return web.json_response({"metadata": {"name": "web", "uid": uids[-1]}})

    async with vouchers_of(answer, tmp_path) as vouchers:
        for _ in range(3):
            assert await vouchers.service_account_uid("shop", "web", "first") == "first"
        assert calls == 1
        uids.append("second")
        assert await vouchers.service_account_uid("shop", "web", "second") == "second"
        assert await vouchers.service_account_uid("shop", "web", "first") == "second"


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_pod_whose_containers_ended_for_good_has_ended(tmp_path: Path, phase: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({**pod(), "status": {"phase": phase}})

    async with vouchers_of(answer, tmp_path) as vouchers:
        found = await vouchers.pod("shop", "web-1")
    assert found is not None
    assert found.has_ended


async def test_a_pod_that_is_being_deleted_ends_when_its_grace_period_does(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            pod(deletionTimestamp="2026-11-24T12:30:00Z", deletionGracePeriodSeconds=1800)
        )

    async with vouchers_of(answer, tmp_path) as vouchers:
        found = await vouchers.pod("shop", "web-1")
    assert found is not None
    assert (found.has_ended, found.ends_at) == (False, datetime(2026, 11, 24, 12, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("there", "unlabelled", "without_account"),
    [
        ({}, False, False),
        ({"/api/v1/namespaces/shop": {"acme.test/label": "off"}}, True, True),
        ({"/api/v1/namespaces/shop": {"acme.test/label": "on"}}, False, True),
        (
            {
                "/api/v1/namespaces/shop": {"acme.test/label": "on"},
                "/api/v1/namespaces/shop/serviceaccounts/web": {},
            },
            False,
            False,
        ),
    ],
    ids=["nothing", "no label", "no account", "all"],
)
async def test_only_in_a_namespace_that_is_there_something_is_missing(
    tmp_path: Path, there: dict[str, dict[str, str]], unlabelled: bool, without_account: bool
) -> None:
    """A program between that answers 404 to everything would have all certificates revoked otherwise."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path not in there:
            return web.Response(status=404)
        name = request.path.rpartition("/")[2]
        return web.json_response({"metadata": {"name": name, "labels": there[request.path]}})

    async with vouchers_of(answer, tmp_path) as vouchers:
        assert await vouchers.lacks_label("shop") is unlabelled
        assert await vouchers.lacks_service_account("shop", "web") is without_account


@pytest.mark.parametrize(
    "answered", [{"metadata": {}}, {"metadata": {"name": "other"}}, {"metadata": []}, {}]
)
async def test_attack_the_answer_of_a_program_between_takes_no_label_away(
    tmp_path: Path, answered: dict[str, Any]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(answered)

    async with vouchers_of(answer, tmp_path) as vouchers:
        with pytest.raises(Unavailable, match="GET /api/v1/namespaces/shop was answered with another object"):
            await vouchers.lacks_label("shop")
