"""What all tests share: a control plane, a cluster with a node, and what happens where there can be none.

What they run is found or built before the first test that needs it, with the progress in sight. Where that
does not work, the tests that need it are left out, and the summary says which and why. Where CI is set, or
VANADIUM_REQUIRE_CONTROL_PLANE, that is a failure.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from tests.chromium import Chromium, browser, find_chromium
from tests.clients.envoy_program import find_envoy
from tests.clients.go_client import find_go_client
from tests.cluster.cluster import cluster_parts
from tests.cluster.programs import can_run_node
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import (
    Programs,
    ProgramsUnavailableError,
    Say,
    programs,
    programs_are_built,
)
from tests.controlplane.programs import go_toolchain as find_go
from tests.distribution import UnitScheduling, check_units, give_way, in_order
from tests.images.errors import ImagesUnavailableError
from tests.images.previous import Release
from tests.images.previous import previous_release as find_previous_release
from tests.images.unpacked import runnable_images
from tests.waiting import PATIENCE_SECONDS
from tests.webhook.machine_code import compiled_webhook

# How long an example takes says how busy the machine is. (Where CI is set, Hypothesis draws the same ones
# each time, by itself.)
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# A call for which no timeout is stated has five seconds, and a busy machine may need more for any answer.
vars(DEFAULT_TIMEOUT_CONFIG).update(vars(httpx.Timeout(PATIENCE_SECONDS)))

# A shell without job control starts what runs in the background with Ctrl-C ignored, and the programs of the
# tests would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Need:
    """What tests need of this machine: looked for, or built, once, before the first test that takes it."""

    what: str
    find: Callable[[Say], Any]
    found: Any = None
    unavailable: str = ""

    def look(self, say: Say) -> None:
        """Sets `found` or `unavailable`."""
        if self.found is None and not self.unavailable:
            try:
                self.found = self.find(say)
            except (ProgramsUnavailableError, ImagesUnavailableError) as error:
                self.unavailable = str(error)


def find_promtool(_say: Say) -> Path:
    """Raises ProgramsUnavailableError."""
    found = shutil.which("promtool")
    if found is None:
        raise ProgramsUnavailableError("there is no promtool on PATH (Debian's package prometheus has it)")
    return Path(found)


def chromium_program(_say: Say) -> str:
    """Raises ProgramsUnavailableError."""
    found = find_chromium()
    if found is None:
        raise ProgramsUnavailableError("there is no Chromium on PATH (Debian's package chromium has it)")
    return found


def find_nginx(_say: Say) -> Path:
    """Raises ProgramsUnavailableError."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise ProgramsUnavailableError("there is no nginx on PATH (Debian's package nginx has it)")
    return Path(found)


def _needs() -> dict[str, Need]:
    """By the name of the fixture, which is also the marker of the tests that use it."""
    return {
        "control_plane": Need("a control plane", programs),
        "node_machine": Need("a machine for a node", can_run_node),
        "built_images": Need("images", runnable_images),
        "previous_release": Need("the previous release", find_previous_release),
        "go_toolchain": Need("Go", find_go),
        "go_client": Need("Go's client of SPIFFE", find_go_client),
        "chromium": Need("Chromium", chromium_program),
        "envoy": Need("Envoy", find_envoy),
        "machine_code": Need("the webhook's machine code", compiled_webhook),
        "nginx": Need("nginx", find_nginx),
        "promtool": Need("Prometheus' promtool", find_promtool),
        "cluster": Need("a cluster with a node", cluster_parts),
    }


_NEEDS = pytest.StashKey[dict[str, Need]]()
# Names the property of a report whose test was left out; its value is what the test lacked, and why.
_LEFT_OUT = "left out"
# What a process of several is told: whether there are the Kubernetes programs already.
_BUILT = "programs are built"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_NEEDS] = _needs()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> UnitScheduling:
    config.option.loadscopereorder = False
    return UnitScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Once for all processes, which must agree on the order of tests."""
    node.workerinput[_BUILT] = programs_are_built()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for name in config.stash[_NEEDS]:
            if name in getattr(item, "fixturenames", ()):
                item.add_marker(name)
    check_units(items)
    if worker := getattr(config, "workerinput", None):
        items[:] = in_order(items, programs_are_built=worker[_BUILT])


def pytest_collection_finish() -> None:
    """What is there now stays to the end, so the garbage collector need not look at it again and again: that
    costs more than the tests' own garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected() -> Iterator[None]:
    """What a module's tests leave open, such as a socket, fails one of them, and no test that happens to run
    when the garbage collector does."""
    yield
    gc.collect()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Finds or builds what the test needs, with the progress in sight; without it the test is left out."""
    if hasattr(item.config, "workerinput"):
        give_way(item.nodeid)
    for name, need in item.config.stash[_NEEDS].items():
        if item.get_closest_marker(name):
            need.look(partial(_say, item.config))
            if need.unavailable:
                item.user_properties.append((_LEFT_OUT, (need.what, need.unavailable)))
                leave_out = pytest.fail if _required() else pytest.skip
                leave_out(f"no {name}: {need.unavailable}")


def _say(config: pytest.Config, line: str) -> None:
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{line}", end="", file=sys.stderr, flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out: dict[tuple[str, str], list[str]] = {}
    for outcome in ("skipped", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", ()):
                if name == _LEFT_OUT and report.when == "setup":
                    left_out.setdefault(tuple(value), []).append(report.nodeid)
    for (what, unavailable), tests in left_out.items():
        terminalreporter.section(f"left out for want of {what}", red=True)
        terminalreporter.write_line(f"{len(tests)} tests did not run: {unavailable}")
        for test in tests:
            terminalreporter.write_line(f"  {test}")


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A running control plane, shared by the session: tests use namespaces of their own."""
    found: Programs = what_was_found(request, "control_plane")
    with ControlPlane(found) as running:
        yield running


@pytest.fixture(scope="session")
def previous_release(request: pytest.FixtureRequest) -> Release:
    """The version before this one, of which installations are upgraded."""
    found: Release = what_was_found(request, "previous_release")
    return found


@pytest.fixture(scope="session")
def node_machine(request: pytest.FixtureRequest) -> None:
    """This machine can be divided into one for a node."""
    what_was_found(request, "node_machine")


@pytest.fixture(scope="session")
def go_toolchain(request: pytest.FixtureRequest) -> Path:
    """The program `go`."""
    found: Path = what_was_found(request, "go_toolchain")
    return found


@pytest.fixture(scope="session")
def go_client(request: pytest.FixtureRequest) -> Path:
    """The program of tests/clients/go_module."""
    found: Path = what_was_found(request, "go_client")
    return found


@pytest.fixture(scope="session")
def promtool(request: pytest.FixtureRequest) -> Path:
    """Prometheus' own judge of rules."""
    found: Path = what_was_found(request, "promtool")
    return found


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Iterator[Chromium]:
    """A headless browser."""
    with browser(what_was_found(request, "chromium")) as running:
        yield running


@pytest.fixture(scope="session")
def machine_code(request: pytest.FixtureRequest) -> Path:
    """A directory with the package `webhook` as its image has it."""
    found: Path = what_was_found(request, "machine_code")
    return found


@pytest.fixture(scope="session")
def nginx(request: pytest.FixtureRequest) -> Path:
    """The web server."""
    found: Path = what_was_found(request, "nginx")
    return found


@pytest.fixture(scope="session")
def envoy(request: pytest.FixtureRequest) -> Path:
    """The program Envoy."""
    found: Path = what_was_found(request, "envoy")
    return found


@pytest.fixture(scope="session")
def built_images(request: pytest.FixtureRequest) -> dict[str, Path]:
    """Each image's archive, by its short name."""
    found: dict[str, Path] = what_was_found(request, "built_images")
    return found


def what_was_found(request: pytest.FixtureRequest, name: str) -> Any:
    """For the fixture of that name, which cannot be asked for where nothing was found."""
    return request.config.stash[_NEEDS][name].found


def _required() -> bool:
    return bool(os.environ.get("CI") or os.environ.get("VANADIUM_REQUIRE_CONTROL_PLANE"))
