"""Programs that end while a name server does not answer."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.event_loop import event_loop
from tests.cluster_agents import (
    as_arguments,
    free_port,
    running_cluster_agent,
)
from tests.pod_agent.running import mount, short_directory
from tests.processes import Process
from tests.waiting import PATIENCE_SECONDS, wait_for

# A program whose resolver never returns.
PROGRAM = """
import socket, sys, threading
from {module}.__main__ import main

def resolve(host, *rest, **options):
    sys.stderr.write("resolving\\n")
    threading.Event().wait()

socket.getaddrinfo = resolve
main()
"""


def start(module: str, arguments: list[str], log_file: Path) -> subprocess.Popen[bytes]:
    with log_file.open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", PROGRAM.format(module=module), *arguments], stderr=log)


def ends_at_sigterm(process: Process, log_file: Path) -> bool:
    wait_for("the question", lambda: "resolving\n" in log_file.read_text(), story=log_file.read_text)
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_SECONDS) == 0


def test_attack_a_cluster_agent_ends_while_its_api_server_has_no_address(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the-agents-own-token")
    with running_cluster_agent(
        tmp_path,
        start=lambda arguments, log_file: start("cluster_agent", arguments, log_file),
        attestor="token-review",
        kubernetes_api_url="https://kubernetes.test",
        kubernetes_token_file=tmp_path / "token",
        kubernetes_ca_file=tmp_path / "serving" / "ca.crt",
    ) as agent:
        assert ends_at_sigterm(agent.process, agent.log_file)


def test_attack_a_pod_agent_ends_while_the_cluster_agent_has_no_address(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent, short_directory() as directory, ExitStack() as stack:
        mount(directory, agent)
        flags: dict[str, object] = {
            "cluster_agent_url": "https://cluster-agent.test:8193",
            "credential_file": directory / "credential.json",
            "token_file": directory / "token",
            "socket_directory": directory,
            "health_host": "127.0.0.1",
            "health_port": free_port(),
        }
        process = start("pod_agent", as_arguments(flags), directory / "log")
        stack.enter_context(process)
        stack.callback(process.kill)
        assert ends_at_sigterm(process, directory / "log")


def test_names_are_resolved_as_ever_and_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    async def resolve() -> list[object]:
        loop = asyncio.get_running_loop()
        (found,) = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[4] == ("127.0.0.1", 80)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **_options: go_on.wait(PATIENCE_SECONDS))
        asked = [asyncio.create_task(loop.getaddrinfo("name.test", 80)) for _ in range(20)]
        await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        go_on.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    with asyncio.Runner(loop_factory=lambda: event_loop(asyncio.new_event_loop)) as runner:
        outcomes = runner.run(resolve())
    assert outcomes[:16] == [True] * 16
    assert all(isinstance(one, socket.gaierror) for one in outcomes[16:])
