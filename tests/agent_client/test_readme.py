"""The Python of the README, as it stands there, between two replicas."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.checkout import CHECKOUT
from tests.cluster_agents import running_cluster_agent
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS

CODE = re.findall(r"^```python\n(.*?)^```", (CHECKOUT / "README.md").read_text(), re.M | re.S)
SERVE = """
import socket, sys
from blessings import Pattern
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
serve(listener, Pattern.parse(sys.argv[1]))
"""
CALL = """
import sys
from blessings import Pattern
try:
    print(call(("127.0.0.1", int(sys.argv[1])), Pattern.parse(sys.argv[2])))
except ConnectionError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPodAgent, RunningPodAgent]]:
    """The Pods web-1 and web-2."""
    with (
        running_cluster_agent(tmp_path_factory.mktemp("agent")) as agent,
        short_directory() as one,
        short_directory() as other,
    ):
        mount(one, agent, "web-1")
        mount(other, agent, "web-2")
        with running_pod_agent(one, agent.url) as first, running_pod_agent(other, agent.url) as second:
            first.wait_until_blessed()
            second.wait_until_blessed()
            yield first, second


def start(replica: RunningPodAgent, what: str, *arguments: str) -> subprocess.Popen[str]:
    """The README's program with `what` at its end, in that replica."""
    (code,) = CODE
    environment = {
        **os.environ,
        "SPIFFE_ENDPOINT_SOCKET": replica.workload_socket,
        "V23_AGENT_PATH": str(replica.agent_socket),
    }
    # The SPIFFE client's threads do not end with the program.
    program = f"{code}{what}\nsys.stdout.flush()\nimport os\nos._exit(0)\n"
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)


@pytest.mark.parametrize(
    ("allowed", "expected", "answer"),
    [
        ("acme:prod:shop", "acme:prod:shop:web", "hello, acme:prod:shop:web:web-2"),
        ("acme:prod:bank", "acme:prod:shop:web", "acme:prod:shop:web:web-2 may not call"),
        (
            "acme:prod:shop",
            "acme:prod:bank",
            "acme:prod:shop:web:web-1 answers, expected acme:prod:bank",
        ),
    ],
)
def test_a_server_and_a_client_know_each_other_by_name(
    replicas: tuple[RunningPodAgent, RunningPodAgent], allowed: str, expected: str, answer: str
) -> None:
    first, second = replicas
    server = start(first, SERVE, allowed)
    try:
        assert server.stdout is not None
        client = start(second, CALL, server.stdout.readline().strip(), expected)
        said, _ = client.communicate(timeout=PATIENCE_SECONDS)
        assert (client.returncode, said.strip()) == (0, answer)
        server.communicate(timeout=PATIENCE_SECONDS)
    finally:
        server.kill()
        server.communicate()
