"""The list of secrets: one namespace's thousands are never between a client and those of another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster_agent.errors import BadRequest
from cluster_agent.model import Application
from cluster_agent.store.secrets import Place
from tests.cluster_agents import AgentUnderClock

NAMESPACES = ("bank", "flood", "shop")


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    """Seven secrets in `flood`, one in the namespace before it and one in that after it."""
    agent = AgentUnderClock(tmp_path, store_url)
    for namespace, count in zip(NAMESPACES, (1, 7, 1), strict=True):
        for number in range(count):
            application = Application(namespace, f"account-{number}")
            await agent.secrets.make(agent.secret_keeper(), application)
    yield agent
    await agent.store.close()


async def test_pages_together_are_the_whole_list_in_its_order(under: AgentUnderClock) -> None:
    keeper = under.secret_keeper()
    whole = await under.secrets.live(keeper)
    assert [one.application.namespace for one in whole] == ["bank", *["flood"] * 7, "shop"]
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = await under.secrets.page(keeper, 2, after=after)
        assert len(page.secrets) <= 2
        found += page.secrets
        after, pages = page.following, pages + 1
    assert (found, pages) == (whole, 5)


async def test_a_namespace_is_listed_alone_and_without_what_was_forgotten(under: AgentUnderClock) -> None:
    keeper = under.secret_keeper()
    (bank,) = await under.secrets.live(keeper, "bank")
    assert bank.application == Application("bank", "account-0")
    first = await under.secrets.page(keeper, 4, namespace="flood")
    assert first.following is not None
    second = await under.secrets.page(keeper, 4, namespace="flood", after=first.following)
    assert (len(first.secrets), len(second.secrets), second.following) == (4, 3, None)
    await under.secrets.forget(keeper, first.secrets[0].id)
    assert await under.secrets.live(keeper, "flood") == [*first.secrets[1:], *second.secrets]
    assert (await under.secrets.page(keeper, 4, namespace="nowhere")).secrets == []


async def test_the_rest_of_a_namespace_can_be_left_out(under: AgentUnderClock) -> None:
    page = await under.secrets.page(under.secret_keeper(), 4, after=Place("flood"))
    assert [one.application.namespace for one in page.secrets] == ["shop"]


async def test_a_client_that_knows_no_pages_gets_all_or_a_refusal_and_never_a_part(
    under: AgentUnderClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster_agent.secrets.bootstrap_secrets.MOST_AT_ONCE", 8)
    with pytest.raises(BadRequest, match="ask for pages, with limit"):
        await under.secrets.live(under.secret_keeper())
    assert len(await under.secrets.live(under.secret_keeper(), "flood")) == 7
