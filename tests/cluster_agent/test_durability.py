"""What was answered survives `kill -9` at any moment. tests/cluster_agent/killing.py does it longer."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_agent.killing import kill_one, kill_one_of_two
from tests.cluster_agents import Start
from tests.postgresql import Postgresql
from tests.preloaded import preloaded

SQLITE_CYCLES = 175
POSTGRESQL_CYCLES = 25

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
def start() -> Iterator[Start]:
    with preloaded() as start:
        yield start


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # pytest shows it when the test fails
    return random.Random(seed)


def test_no_answered_write_is_lost_when_the_agent_is_killed_under_load(
    tmp_path: Path, start: Start, chance: random.Random
) -> None:
    answered, problems = kill_one(SQLITE_CYCLES, tmp_path, start, chance)
    assert problems == []
    assert len(answered.blessings) > SQLITE_CYCLES
    assert answered.forgotten


def test_one_of_two_replicas_is_killed_under_load_and_the_others_callers_do_not_notice(
    tmp_path: Path, start: Start, chance: random.Random, postgresql: Postgresql
) -> None:
    answered, problems = kill_one_of_two(
        POSTGRESQL_CYCLES, tmp_path, start, chance, postgresql.new_database()
    )
    assert problems == []
    assert len(answered.blessings) > POSTGRESQL_CYCLES
    assert answered.forgotten
