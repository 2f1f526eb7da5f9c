"""Starts that are refused: another agent on the directory, another prefix, a lost key, a lost store. Each
leaves what is there as it was."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster_agents import (
    RunningClusterAgent,
    as_arguments,
    free_port,
    running_cluster_agent,
    start_preloaded,
)
from tests.waiting import PATIENCE_SECONDS

STORE = "cluster-agent.sqlite3"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunningClusterAgent:
    with running_cluster_agent(tmp_path_factory.mktemp("stopped")) as agent:
        pass
    return agent


def refusal(agent: RunningClusterAgent, log: Path, **changes: object) -> str:
    """The message with which a start with these settings ends."""
    flags = {**agent.flags, "port": free_port(), "health_port": free_port(), **changes}
    process = start_preloaded(as_arguments(flags), log)
    try:
        assert process.wait(PATIENCE_SECONDS) == 1, log.read_text()
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    return log.read_text().splitlines()[-1]


def test_the_second_of_two_agents_on_one_directory_does_not_start(
    running: RunningClusterAgent, tmp_path: Path
) -> None:
    assert "another cluster agent uses" in refusal(running, tmp_path / "log")


def test_another_prefix_is_refused_by_name(stopped: RunningClusterAgent, tmp_path: Path) -> None:
    data = shutil.copytree(stopped.data_directory, tmp_path / "data")
    said = refusal(stopped, tmp_path / "log", data_directory=data, name_prefix="acme:dev")
    assert "with --name-prefix acme:prod, ours is acme:dev" in said


@pytest.mark.parametrize("lost", ["issuing.pem", "bootstrap.pem", "root.pem"])
def test_a_lost_key_is_named_and_not_replaced(
    stopped: RunningClusterAgent, tmp_path: Path, lost: str
) -> None:
    data = shutil.copytree(stopped.data_directory, tmp_path / "data")
    (data / lost).unlink()
    left = {path.name for path in data.iterdir()}
    assert f"{lost} is missing" in refusal(stopped, tmp_path / "log", data_directory=data)
    assert {path.name for path in data.glob("*.pem")} == {name for name in left if name.endswith(".pem")}


def test_an_emptied_store_beside_old_keys_is_refused_and_begins_by_command(
    stopped: RunningClusterAgent, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for key in stopped.data_directory.glob("*.pem"):
        shutil.copy(key, data)
    said = refusal(stopped, tmp_path / "log", data_directory=data)
    assert f"{STORE} is missing" in said
    assert not (data / STORE).exists()
    (data / STORE).touch()
    with running_cluster_agent(tmp_path, data_directory=data) as agent:
        assert agent.keys_directory == data


def test_a_first_start_that_was_interrupted_is_repeated(stopped: RunningClusterAgent, tmp_path: Path) -> None:
    """It makes the store first, then one key after the other."""
    data = tmp_path / "data"
    data.mkdir()
    (data / STORE).touch()
    shutil.copy(stopped.data_directory / "bootstrap.pem", data)
    with running_cluster_agent(tmp_path, data_directory=data) as agent:
        assert (agent.data_directory / "issuing.pem").exists()


def test_a_restore_that_was_interrupted_is_not_taken_for_a_first_start(
    stopped: RunningClusterAgent, tmp_path: Path
) -> None:
    (tmp_path / "data.before").mkdir()
    assert "a restore was interrupted" in refusal(stopped, tmp_path / "log", data_directory=tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_store_from_a_backup_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    data, accepted = tmp_path / "data", tmp_path / "data.accepted"
    with running_cluster_agent(tmp_path) as agent:
        agent.new_secret()
    backup = shutil.copytree(data, tmp_path / "backup")
    with running_cluster_agent(tmp_path) as agent:
        agent.new_secret("shop", "other")
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    for attempt in ("first", "second"):
        said = refusal(agent, tmp_path / attempt)
        assert "the store is from a backup" in said
        assert f"make an empty file {accepted}" in said
    accepted.touch()
    with running_cluster_agent(tmp_path) as agent:
        assert "what was revoked later is in force again" in agent.log()
        assert not accepted.exists()
        agent.new_secret("shop", "third")
    with running_cluster_agent(tmp_path) as agent, agent.control_plane_client() as client:
        secrets = client.get("/v1/secrets").json()["secrets"]
        assert {one["serviceAccount"] for one in secrets} == {"web", "third"}


def test_a_lost_data_directory_is_not_taken_for_a_first_start(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        agent.new_secret()
    shutil.rmtree(agent.data_directory)
    said = refusal(agent, tmp_path / "log")
    assert f"{agent.data_directory / STORE} is missing" in said
    assert not agent.data_directory.exists()
