"""The stores that every test of the cluster agent runs on, and one running agent for the tests that only ask
it things."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster_agent.store import Store, open_store
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.postgresql import Postgresql, PostgresqlUnavailableError, running_postgresql

STORES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A running server, shared by the session: tests use databases of their own."""
    try:
        with running_postgresql() as server:
            yield server
    except PostgresqlUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(params=STORES)
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite3'}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(scope="session")
def sqlite_with_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("with-tables") / "store.sqlite3"
    _make_tables(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql: Postgresql) -> str:
    url = postgresql.new_database()
    _make_tables(url)
    return url


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind: a copy, since to make its tables takes longer than most tests."""
    if request.param == "sqlite":
        file: Path = request.getfixturevalue("sqlite_with_tables")
        return f"sqlite:///{shutil.copyfile(file, tmp_path / 'store.sqlite3')}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database(template=request.getfixturevalue("postgresql_with_tables"))


def _make_tables(url: str) -> None:
    asyncio.run(open_store(url).close())


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """That store, opened."""
    opened = open_store(store_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="package", params=STORES)
def agent(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    settings: dict[str, Any] = {}
    if request.param == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        settings["database_url"] = server.new_database()
    with running_cluster_agent(tmp_path_factory.mktemp("agent"), **settings) as running:
        yield running
