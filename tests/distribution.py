"""How a run on several processes is divided: which tests stay together, and what begins first.

`make test` runs with pytest-xdist, two processes more than there are cores: the tests on the real node mostly
wait, and one process has all of them. The tests on a control plane share one in the same way. All others stay
together by file, so that a module's fixtures are made once; in a few files each test is slow, and goes alone.

The run lasts at least as long as the node's tests, and as those on a control plane: no other process can take
over some of them. The others give way to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

# What only one process may have: one node runs on a machine at a time.
NODE = "node"
CONTROL_PLANE = "control plane"
_SHARED = {
    NODE: ("tests/cluster/",),
    CONTROL_PLANE: (
        "tests/controlplane/",
        "tests/deploy/",
        "tests/endtoend/",
        "tests/vkube/runner/test_program.py",
    ),
}
# The fixtures that only tests of a unit may take.
_NEEDS = {
    "cluster": NODE,
    "node_machine": NODE,
    "control_plane": CONTROL_PLANE,
}
# A process at 5 gets a third of what one at 0 gets of a busy processor.
_NICENESS = {NODE: 0, CONTROL_PLANE: 2}
_NICENESS_OF_OTHERS = 5
_BY_TEST = ("tests/cluster_agent/kills/",)
# The slowest of the others, so that no process is alone with one of them when the others have ended.
_FIRST = (
    "tests/cluster_agent/kills/",
    "tests/cluster_agent/server/",
    "tests/cluster_agent/roots/",
    "tests/pod_agent/",
    "tests/webhook/test_machine_code.py",
)


class UnitScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """pytest-xdist's division by scope, with our units as scopes, in the order of the collection."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """The name of what a test stays together with, in one process."""
    for unit, places in _SHARED.items():
        if nodeid.startswith(places):
            return unit
    if nodeid.startswith(_BY_TEST):
        return nodeid
    return nodeid.split("::")[0]


def in_order(items: Iterable[pytest.Item], *, programs_are_built: bool) -> list[pytest.Item]:
    """Tests in the order in which their units begin.

    The node's first, since it takes longest. Where the Kubernetes programs are not built yet, it begins by
    building them, and what else needs them is last.
    """

    def rank(item: pytest.Item) -> int:
        unit = unit_of(item.nodeid)
        if unit == NODE:
            return 0
        if unit == CONTROL_PLANE:
            return 1 if programs_are_built else len(_FIRST) + 3
        for place, first in enumerate(_FIRST):
            if item.nodeid.startswith(first):
                return 2 + place
        return len(_FIRST) + 2

    return sorted(items, key=rank)


def check_units(items: Iterable[pytest.Item]) -> None:
    """Raises UsageError for a test that takes what another unit has for itself."""
    for item in items:
        for name, unit in _NEEDS.items():
            if name in getattr(item, "fixturenames", ()) and unit_of(item.nodeid) != unit:
                raise pytest.UsageError(
                    f"{item.nodeid} takes {name}, which only tests of the unit {unit!r} have: "
                    f"name its file in tests/distribution.py"
                )


def give_way(nodeid: str) -> None:
    """Lowers the priority of this process, and so of all that it will start, to that of the test's unit."""
    niceness = _NICENESS.get(unit_of(nodeid), _NICENESS_OF_OTHERS)
    if (lacking := niceness - os.getpriority(os.PRIO_PROCESS, 0)) > 0:
        os.nice(lacking)
