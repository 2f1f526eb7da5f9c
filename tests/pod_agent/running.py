"""The program `pod-agent` as a process, against a real cluster agent."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx

from agent_client import AgentClient, AgentError
from tests.cluster_agents import SERVER_NAME, RunningClusterAgent, free_port, pod_token
from tests.waiting import PATIENCE_SECONDS, wait_for

_T = TypeVar("_T")
# For tests that wait for renewals, which come before half of it. On a busy machine, such an identity may end
# between any two questions of a test.
TTL_SECONDS = 10
# Without the authorities of the web, which take longer to read than an answer to come.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_OF_THE_CHECKOUT = (sys.executable, "-m", "pod_agent")


@dataclass
class RunningPodAgent:
    """Its sockets, its health address, and the files that a kubelet would mount."""

    process: subprocess.Popen[bytes]
    directory: Path
    health_url: str

    @property
    def agent_socket(self) -> Path:
        return self.directory / "agent.sock"

    @property
    def workload_socket(self) -> str:
        return f"unix://{self.directory}/workload.sock"

    @cached_property
    def _client(self) -> AgentClient:
        return AgentClient(self.agent_socket, timeout_seconds=PATIENCE_SECONDS)

    def get(self, path: str) -> httpx.Response:
        """What its health port answers."""
        return httpx.get(f"{self.health_url}{path}", verify=_NO_AUTHORITIES)

    def wait_until_blessed(self) -> None:
        """By its health port: httpx leaks the Unix socket of a connection that is refused."""
        wait_for(
            "a blessing",
            lambda: self.get("/readyz").is_success,
            story=self.log,
            not_yet=(httpx.TransportError,),
        )

    def client(self) -> AgentClient:
        """A client of its agent.sock, closed with it."""
        return self._client

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged. A line that is just being written is not in it."""
        return [json.loads(line) for line in self.log().splitlines(keepends=True) if line.endswith("\n")]

    def count(self, event: str) -> int:
        """How often it has logged that."""
        return sum(line["event"] == event for line in self.lines())

    def resident_kilobytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


def mount(
    directory: Path, agent: RunningClusterAgent, pod: str = "web-1", service_account: str = "web"
) -> None:
    """The credential and the token of `pod`, as files.

    Each directory is another Pod of that name: one Pod may have only so many certificates at a time, and gets
    short ones when it has many.
    """
    credential = agent.new_secret(service_account=service_account)["credential"]
    token = pod_token(agent.tokens, pod, service_account=service_account, pod_uid=f"{pod}-{directory.name}")
    (directory / "credential.json").write_text(json.dumps(credential))
    (directory / "token").write_text(token)


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="pa-") as directory:
        yield Path(directory)


@contextmanager
def running_pod_agent(
    directory: Path, url: str, program: Sequence[str | Path] = _OF_THE_CHECKOUT, /, **settings: object
) -> Iterator[RunningPodAgent]:
    """Starts the program with everything in `directory`."""
    port = free_port()
    flags = {
        "cluster_agent_url": url.replace("localhost", "127.0.0.1"),
        "cluster_agent_server_name": SERVER_NAME,
        "credential_file": directory / "credential.json",
        "token_file": directory / "token",
        "socket_directory": directory,
        "health_host": "127.0.0.1",
        "health_port": port,
        **settings,
    }
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen([*program, *arguments], stderr=log)
    running = RunningPodAgent(process, directory, f"http://127.0.0.1:{port}")
    try:
        yield running
    finally:
        running.client().close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(what: str, check: Callable[[], _T], seconds: float = PATIENCE_SECONDS) -> _T:
    """What `check` answers, once it is true; an OSError or AgentError counts as not yet."""
    return wait_for(what, check, seconds, not_yet=(OSError, AgentError, httpx.TransportError))
