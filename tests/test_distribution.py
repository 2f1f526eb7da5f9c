"""A run on several processes has one node, one control plane, and waits for neither where it need not."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from tests.distribution import CONTROL_PLANE, NODE, check_units, give_way, in_order, unit_of

NODES_FIRST = "tests/cluster/test_lifecycle.py::test_one"
NODES_SECOND = "tests/cluster/test_workloads.py::test_two"
API_SERVERS = "tests/endtoend/test_identity.py::test_three"
KILLS = "tests/cluster_agent/kills/test_durability.py::test_four[sqlite]"
PLAIN = "tests/blessings/test_names.py::test_five[a::b]"


@dataclass(frozen=True)
class Item:
    """What the division asks of a test."""

    nodeid: str
    fixturenames: tuple[str, ...] = ()


def order(*nodeids: str, programs_are_built: bool) -> list[str]:
    items = [Item(one) for one in nodeids]
    return [one.nodeid for one in in_order(items, programs_are_built=programs_are_built)]  # type: ignore[arg-type]


def test_tests_stay_together_that_share_what_there_is_one_of_and_others_by_file() -> None:
    assert unit_of(NODES_FIRST) == unit_of(NODES_SECOND) == NODE
    assert unit_of(API_SERVERS) == CONTROL_PLANE
    assert unit_of(KILLS) == KILLS
    assert unit_of(PLAIN) == "tests/blessings/test_names.py"


def test_the_longest_begin_first_and_what_needs_programs_that_are_not_built_is_last() -> None:
    collected = (PLAIN, NODES_FIRST, KILLS, NODES_SECOND, API_SERVERS)
    node = [NODES_FIRST, NODES_SECOND]
    assert order(*collected, programs_are_built=True) == [*node, API_SERVERS, KILLS, PLAIN]
    assert order(*collected, programs_are_built=False) == [*node, KILLS, PLAIN, API_SERVERS]


def test_a_test_that_takes_the_node_of_another_unit_is_named() -> None:
    check_units([Item(NODES_FIRST, ("cluster",)), Item(API_SERVERS, ("control_plane",))])  # type: ignore[list-item]
    with pytest.raises(pytest.UsageError, match=r"test_five\[a::b\] takes cluster, .*'node'"):
        check_units([Item(PLAIN, ("cluster",))])  # type: ignore[list-item]


def test_the_tests_that_take_longest_have_the_processor_first(monkeypatch: pytest.MonkeyPatch) -> None:
    niceness, seen = [0], []
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: sum(niceness))
    monkeypatch.setattr(os, "nice", niceness.append)
    for one in (NODES_FIRST, API_SERVERS, PLAIN, KILLS, API_SERVERS):
        give_way(one)
        seen.append(sum(niceness))
    assert seen == [0, 2, 5, 5, 5]
