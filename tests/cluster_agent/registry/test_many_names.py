"""Many registered names: what a call costs must not grow with their number. Work is counted, not time: the
steps of SQLite's machine, and the signatures that are verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update

from blessings import Principal, verify_signature
from cluster_agent.model import Application
from cluster_agent.store import tables
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of
from tests.many_applications import add_applications


@contextmanager
def counted(agent: AgentUnderClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The steps of SQLite's machine, and the verified signatures, meanwhile."""
    count: Counter[str] = Counter()

    def step() -> None:
        count["steps"] += 1

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(step, 1)

    def counting(*arguments: Any) -> bool:
        count["signatures"] += 1
        return verify_signature(*arguments)

    database = agent.store._access.database
    with monkeypatch.context() as patched:
        patched.setattr("cluster_agent.signing.signed_text.verify_signature", counting)
        for engine in (database.reading, database.writing):
            event.listen(engine, "checkout", watch)
        yield count


@pytest.fixture
async def few_and_many(tmp_path: Path) -> AsyncIterator[list[AgentUnderClock]]:
    agents = []
    for count in (10, 1000):
        directory = tmp_path / str(count)
        directory.mkdir()
        agent = AgentUnderClock(directory, f"sqlite:///{directory / 'store.sqlite3'}")
        add_applications(agent, count)
        agents.append(agent)
    yield agents
    for agent in agents:
        await agent.store.close()


async def test_a_call_does_not_do_more_work_the_more_names_are_registered(
    few_and_many: list[AgentUnderClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = [await work(agent, monkeypatch) for agent in few_and_many]
    assert few.keys() == many.keys()
    for act, counts in many.items():
        assert counts["signatures"] <= 2, act
        # A deeper tree takes some steps more.
        assert counts["steps"] <= few[act]["steps"] * 1.2 + 20, (act, counts, few[act])


async def test_pages_contain_each_registration_once_in_order(few_and_many: list[AgentUnderClock]) -> None:
    agent, chief = few_and_many[0], few_and_many[0].administrator()
    with agent.store._access.database.writing.begin() as connection:
        of_one = tables.applications.c.namespace == "team-3"
        connection.execute(update(tables.applications).where(of_one).values(name="acme:prod:Changed"))
    page = await agent.registry.page(None, 4)
    assert list(page.unreadable) == [Application("team-3", "web")]
    found = [page]
    while page.following is not None:
        page = await agent.registry.page(page.following, 4)
        found.append(page)
    assert [len(one.listed) for one in found] == [3, 4, 2]
    names = [str(one.registration.name) for page in found for one in page.listed]
    assert names == [f"acme:prod:Team{number}" for number in (0, 1, 2, 4, 5, 6, 7, 8, 9)]
    assert (await agent.registrar.registered(chief, Application("team-8", "web"))).listed == found[2].listed[
        -1:
    ]


async def work(agent: AgentUnderClock, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """What each kind of call costs."""
    chief, web = agent.administrator(), Application("shop", "web")
    done = {}
    with counted(agent, monkeypatch) as count:

        async def count_as(act: str, call: Any) -> Any:
            count.clear()
            answer = await call
            done[act] = Counter(count)
            return answer

        for name in ("acme:prod:One", "acme:prod:Two", "acme:prod:One"):
            await count_as(f"register {name}", agent.registrar.register(chief, web, name, None, None))
        issued = await count_as("new secret", agent.secrets.make(chief, web))
        caller = agent.caller(issued.credential.blessing)
        seek = agent.issuer.seek_blessings(caller, csr_of(Principal.create()), agent.token(), None)
        await count_as("issue", seek)
        await count_as("unregister", agent.registrar.unregister(chief, web))
    return done
