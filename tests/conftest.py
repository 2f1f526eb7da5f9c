"""What all tests share: a control plane, a cluster with a node, and what happens where there can be none.

What they run is found or built before the first test, with the progress in sight. Where that does not work,
the tests that need it are left out, and the summary says which and why. Where CI is set, or
VANADIUM_REQUIRE_CONTROL_PLANE, that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.cluster.cluster import Cluster, Parts, cluster_parts, running_cluster
from tests.cluster.programs import can_run_node
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Programs, ProgramsUnavailableError, Say, programs
from tests.images.errors import ImagesUnavailableError
from tests.images.previous import Release
from tests.images.previous import previous_release as find_previous_release
from tests.images.unpacked import runnable_images

# How long an example takes says how busy the machine is. (Where CI is set, Hypothesis draws the same ones
# each time, by itself.)
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@dataclass
class Need:
    """What a fixture needs of this machine, and what came of looking for it."""

    what: str
    find: Callable[[Say], Any]
    found: Any = None
    unavailable: str = "not looked for"
    tests: list[str] = field(default_factory=list)


def _needs() -> dict[str, Need]:
    """By the name of the fixture, which is the marker of the tests that use it, too."""
    return {
        "control_plane": Need("a control plane", programs),
        "node_machine": Need("a machine for a node", can_run_node),
        "built_images": Need("images", runnable_images),
        "previous_release": Need("the previous release", find_previous_release),
        "cluster": Need("a cluster with a node", cluster_parts),
    }


_NEEDS = pytest.StashKey[dict[str, Need]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NEEDS] = _needs()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for name in config.stash[_NEEDS]:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Finds or builds what is needed before the first test runs, with the progress in sight."""
    if session.config.option.collectonly:
        return
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = session.config.pluginmanager.get_plugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)
            reporter.flush()

    for name, need in session.config.stash[_NEEDS].items():
        needing = [item for item in session.items if item.get_closest_marker(name)]
        if not needing:
            continue
        try:
            need.found = need.find(say)
        except (ProgramsUnavailableError, ImagesUnavailableError) as error:
            need.unavailable = str(error)
            need.tests = [item.nodeid for item in needing]
            if not _required():
                for item in needing:
                    item.add_marker(pytest.mark.skip(reason=f"no {name}: {error}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for need in config.stash[_NEEDS].values():
        if need.tests:
            terminalreporter.section(f"left out for want of {need.what}", red=True)
            terminalreporter.write_line(f"{len(need.tests)} tests did not run: {need.unavailable}")
            for test in need.tests:
                terminalreporter.write_line(f"  {test}")


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A running control plane, shared by the session: tests use namespaces of their own."""
    found: Programs = _found(request, "control_plane")
    with ControlPlane(found) as running:
        yield running


@pytest.fixture(scope="session")
def previous_release(request: pytest.FixtureRequest) -> Release:
    """The version before this one, of which installations are upgraded."""
    found: Release = _found(request, "previous_release")
    return found


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster with a node, shared by the session: a real kubelet runs its Pods."""
    found: Parts = _found(request, "cluster")
    with running_cluster(found) as running:
        yield running


@pytest.fixture(scope="session")
def node_machine(request: pytest.FixtureRequest) -> None:
    """This machine can be divided into one for a node."""
    _found(request, "node_machine")


@pytest.fixture(scope="session")
def built_images(request: pytest.FixtureRequest) -> dict[str, Path]:
    """Each image's archive, by its short name."""
    found: dict[str, Path] = _found(request, "built_images")
    return found


def _found(request: pytest.FixtureRequest, name: str) -> Any:
    need = request.config.stash[_NEEDS][name]
    if need.found is None:
        pytest.fail(f"no {need.what}: {need.unavailable}")
    return need.found


def _required() -> bool:
    return bool(os.environ.get("CI") or os.environ.get("VANADIUM_REQUIRE_CONTROL_PLANE"))
