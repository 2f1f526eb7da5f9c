"""What all tests share: the control plane, once a session, and what happens where there can be none.

Without the Kubernetes programs the tests that need them are left out, and the summary says which and why.
Where CI is set, or VANADIUM_REQUIRE_CONTROL_PLANE, that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import Programs, ProgramsUnavailableError, programs

_PROGRAMS = pytest.StashKey[Programs]()
_LEFT_OUT = pytest.StashKey[str]()
_LEFT_OUT_TESTS = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker("controlplane")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Finds or builds the programs before the first test runs, with the progress in sight."""
    needing = [item for item in session.items if item.get_closest_marker("controlplane")]
    if not needing or session.config.option.collectonly:
        return
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    capture: Any = session.config.pluginmanager.get_plugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)
            reporter.flush()

    try:
        session.config.stash[_PROGRAMS] = programs(say)
    except ProgramsUnavailableError as error:
        session.config.stash[_LEFT_OUT] = str(error)
        session.config.stash[_LEFT_OUT_TESTS] = [item.nodeid for item in needing]
        if not _required():
            for item in needing:
                item.add_marker(pytest.mark.skip(reason=f"no control plane: {error}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if reason := config.stash.get(_LEFT_OUT, None):
        tests = config.stash[_LEFT_OUT_TESTS]
        terminalreporter.section("left out for want of a control plane", red=True)
        terminalreporter.write_line(f"{len(tests)} tests did not run: {reason}")
        for test in tests:
            terminalreporter.write_line(f"  {test}")


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A running control plane, shared by the session: tests use namespaces of their own."""
    found = request.config.stash.get(_PROGRAMS, None)
    if found is None:
        pytest.fail(f"no control plane: {request.config.stash.get(_LEFT_OUT, 'not looked for')}")
    with ControlPlane(found) as running:
        yield running


def _required() -> bool:
    return bool(os.environ.get("CI") or os.environ.get("VANADIUM_REQUIRE_CONTROL_PLANE"))
