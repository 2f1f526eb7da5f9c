"""The startup probe, as a kubelet executes it, and the watchdog in place of a liveness probe."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pod_agent import probe
from tests.cluster_agents import RunningClusterAgent, free_port
from tests.pod_agent.running import (
    RunningPodAgent,
    mount,
    running_pod_agent,
    short_directory,
)
from tests.waiting import PATIENCE_SECONDS, wait_for
from webhook.annotations import LONGEST_STARTUP_WAIT

_TURNS = """
import asyncio, sys, time
from pod_agent.watchdog import task
async def main():
    dog = task(seconds=1.0)
    for _ in range(int(sys.argv[1])):
        await dog.run()
        await asyncio.sleep(0.1)
    time.sleep(float(sys.argv[2]))
asyncio.run(main())
"""


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    """As the image's file, which runs without its environment's packages."""
    return subprocess.Popen(
        [sys.executable, "-ISOO", probe.__file__, *arguments],
        env={"VANADIUM_POD_AGENT_SOCKET_DIRECTORY": str(directory)},
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(directory: Path, *arguments: str) -> tuple[int, str]:
    probing = start(directory, *arguments)
    output, _ = probing.communicate(timeout=PATIENCE_SECONDS)
    return probing.returncode, output


def succeeds(directory: Path, *arguments: str) -> str:
    """What it prints. On a busy machine it may end before the pod agent answers; a kubelet starts it again,
    too."""

    def output() -> str | None:
        code, printed = ask(directory, *arguments)
        return printed if code == 0 else None

    return str(wait_for("a probe that succeeds", output))


def descriptors(process: int) -> Iterator[str]:
    """What the file descriptors of that process lead to."""
    for one in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(one)


def _table(name: str) -> list[str]:
    return Path("/proc/net", name).read_text().splitlines()


def test_it_succeeds_once_there_is_an_identity_and_shows_the_metrics(blessed: RunningPodAgent) -> None:
    assert json.loads(succeeds(blessed.directory))["name"] == "acme:prod:shop:web:web-1"
    assert "vanadium_pod_agent_blessing_version" in succeeds(blessed.directory, "/metrics")


def test_one_that_began_before_the_pod_agent_ends_with_its_first_identity(
    cluster_agent: RunningClusterAgent, directory: Path
) -> None:
    mount(directory, cluster_agent)
    with running_pod_agent(directory, cluster_agent.url) as running:
        succeeds(directory)
        running.wait_until_blessed()


def test_as_a_hook_it_succeeds_with_an_identity_or_after_the_time_that_it_waits_at_most(
    blessed: RunningPodAgent, tmp_path: Path
) -> None:
    """A kubelet ends a container whose hook fails."""

    def hook(directory: Path, at_most: int, said: str) -> str | None:
        code, output = ask(directory, f"--at-most={at_most}")
        assert code == 0
        return output if said in output else None

    wait_for("an identity", lambda: hook(blessed.directory, LONGEST_STARTUP_WAIT, "shop:web:web-1"))
    began = time.monotonic()
    assert hook(tmp_path, 1, "the pod agent does not answer: No such file or directory")
    assert time.monotonic() - began >= 1
    with short_directory() as directory, running_pod_agent(directory, f"https://127.0.0.1:{free_port()}"):
        began = time.monotonic()
        wait_for("no identity", lambda: hook(directory, 1, "NotYetBlessed"))
        assert time.monotonic() - began >= 1


def test_it_fails_with_the_reason_while_there_is_no_identity(directory: Path) -> None:
    with running_pod_agent(directory, f"https://127.0.0.1:{free_port()}"):

        def reason() -> dict[str, object] | None:
            code, output = ask(directory, "/readyz")
            assert code == 1
            return json.loads(output) if output.startswith("{") else None  # it does not listen yet

        answer = wait_for("the reason", reason)
    assert answer is not None
    assert (answer["reason"], answer["waitsFor"]) == ("NotYetBlessed", "mounted")


def test_one_that_connects_late_waits_no_longer_for_the_answer_than_a_kubelet_does_for_it() -> None:
    """A kubelet that ends it knows no reason for its failure."""
    connection, pod_agent = socket.socketpair()
    with connection, pod_agent:
        pod_agent.shutdown(socket.SHUT_WR)
        probe.ask(connection, "/readyz", until=time.monotonic())
        waited = connection.gettimeout()
    assert waited is not None
    assert probe.SECONDS + waited < 10  # timeoutSeconds in webhook/sidecar.py


def test_attack_another_user_of_the_pod_cannot_keep_it_out(blessed: RunningPodAgent) -> None:
    assert (blessed.directory / "health.sock").stat().st_mode & 0o777 == 0o600


def test_without_being_asked_the_pod_agent_listens_on_no_port(
    cluster_agent: RunningClusterAgent, directory: Path
) -> None:
    mount(directory, cluster_agent)
    with running_pod_agent(directory, cluster_agent.url, health_port="") as running:
        succeeds(directory)
        sockets = set(descriptors(running.process.pid))
        lines = [line.split() for name in ("tcp", "tcp6") for line in _table(name)]
        assert not {f"socket:[{line[9]}]" for line in lines if line[3] == "0A"} & sockets


def test_it_loads_only_what_starts_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-ISOO", "-X", "importtime", probe.__file__],
        env={"VANADIUM_POD_AGENT_SOCKET_DIRECTORY": "/" + "x" * 200},  # too long: it ends at once
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "_socket" in loaded
    assert not {"site", "socket", "enum", "re", "collections"} & loaded


def turned(times: int, then_sleep: float) -> subprocess.CompletedProcess[str]:
    """A process whose event loop turns so often, ten times a second, and then stands still."""
    return subprocess.run(
        [sys.executable, "-c", _TURNS, str(times), str(then_sleep)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_watchdog_ends_a_process_whose_event_loop_stands_still_and_shows_where() -> None:
    def shows_where() -> bool:
        done = turned(1, PATIENCE_SECONDS)
        assert done.returncode == 1
        assert "Timeout" in done.stderr
        return "in main" in done.stderr

    # A busy machine may let a process stand still before that.
    wait_for("the place", shows_where)


def test_the_watchdog_ends_a_process_whose_log_nobody_reads() -> None:
    unread, log = os.pipe()
    try:
        os.set_blocking(log, False)
        with suppress(BlockingIOError):
            while True:
                os.write(log, bytes(4096))
        os.set_blocking(log, True)
        command = [sys.executable, "-c", _TURNS, "1", str(2 * PATIENCE_SECONDS)]
        assert subprocess.run(command, stderr=log, check=False, timeout=PATIENCE_SECONDS).returncode == 1
    finally:
        os.close(unread)
        os.close(log)


def test_the_watchdog_leaves_an_event_loop_that_turns_alone() -> None:
    wait_for("a process that turns all the time", lambda: turned(15, 0).returncode == 0)
