"""What was answered survives `kill -9` at any moment. `python -m tests.cluster_agent.kills` tries it more."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster_agent.conftest import STORES
from tests.cluster_agent.kills.administration import kill_administered
from tests.cluster_agent.kills.claims import kill_claimed
from tests.cluster_agent.kills.issuing import kill_one, kill_one_of_two
from tests.postgresql import Postgresql

# Together 40 kills, enough to notice what breaks often; the command kills by the thousand. A cycle of claims
# has two.
SQLITE_CYCLES = 15
POSTGRESQL_CYCLES = 5
ADMINISTERED_CYCLES = 4
CLAIMED_CYCLES = {"sqlite": 4, "postgresql": 2}

# A server that is killed between accept and handshake resets the connection, and a Python without the change
# of https://github.com/python/cpython/issues/113280 leaves this test's own client socket to the garbage
# collector then.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <ssl\.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _garbage_is_this_test_s() -> Iterator[None]:
    """Those sockets are collected while the mark above is in force, not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # pytest shows it when the test fails
    return random.Random(seed)


def test_no_answered_write_is_lost_when_the_agent_is_killed_under_load(
    tmp_path: Path, chance: random.Random
) -> None:
    answered, problems = kill_one(SQLITE_CYCLES, tmp_path, chance)
    assert problems == []
    assert len(answered.blessings) >= SQLITE_CYCLES * 4 // 5  # one at least, but where it was starting
    assert answered.forgotten


def test_one_of_two_replicas_is_killed_under_load_and_the_others_callers_do_not_notice(
    tmp_path: Path, chance: random.Random, postgresql: Postgresql
) -> None:
    answered, problems = kill_one_of_two(POSTGRESQL_CYCLES, tmp_path, chance, postgresql.new_database())
    assert problems == []
    assert len(answered.blessings) >= POSTGRESQL_CYCLES
    assert answered.forgotten


def database_of(kind: str, request: pytest.FixtureRequest) -> Callable[[], str] | None:
    """What makes a new one, where the store is PostgreSQL."""
    if kind == "sqlite":
        return None
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database


@pytest.mark.parametrize("kind", STORES)
def test_no_registration_revocation_or_root_is_there_in_part_when_the_agent_is_killed(
    kind: str, tmp_path: Path, chance: random.Random, request: pytest.FixtureRequest
) -> None:
    new_database = database_of(kind, request)
    url = None if new_database is None else new_database()
    answered, problems = kill_administered(ADMINISTERED_CYCLES, tmp_path, chance, url)
    assert problems == []
    assert min(answered) > 3  # so many are after the last kill


@pytest.mark.parametrize("kind", STORES)
def test_an_agent_that_is_killed_while_it_is_claimed_is_claimed_or_can_be(
    kind: str, tmp_path: Path, chance: random.Random, request: pytest.FixtureRequest
) -> None:
    cycles = CLAIMED_CYCLES[kind]
    killer, problems = kill_claimed(cycles, tmp_path, chance, database_of(kind, request))
    assert problems == []
    assert killer.answered
    assert killer.unanswered
