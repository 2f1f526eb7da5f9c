"""The Python of README.md and docs/python.md, as it stands there, between two replicas."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.checkout import CHECKOUT
from tests.cluster_agents import free_port, running_cluster_agent
from tests.pod_agent.running import RunningPodAgent, eventually, mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS

# What the README's programs leave to the reader.
README_NEEDS = """
import httpx, uvicorn
from fastapi import FastAPI
app = FastAPI()
app.get("/")(lambda: "hello, somebody")
"""


def blocks(path: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (CHECKOUT / path).read_text(), re.M | re.S)


README_START, README_SERVER, README_CLIENT = blocks("README.md")
START, *PROGRAMS = blocks("docs/python.md")
UVICORN, HTTPX, AIOHTTP_SERVER, AIOHTTP, SOCKET_SERVER, SOCKET, SIGNING = PROGRAMS


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


def start(replica: RunningPodAgent, program: str, port: int) -> subprocess.Popen[str]:
    """The program in that replica, with a port of this machine for the Service's."""
    program = program.replace('"web.shop.svc", 8443', f'"127.0.0.1", {port}')
    program = program.replace("web.shop.svc:8443", f"127.0.0.1:{port}").replace("8443", str(port))
    environment = {
        **os.environ,
        "SPIFFE_ENDPOINT_SOCKET": replica.workload_socket,
        "V23_AGENT_PATH": str(replica.agent_socket),
    }
    # The SPIFFE client's threads do not end with the program.
    program += "\nimport os, sys; sys.stdout.flush(); os._exit(0)\n"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    )


@contextmanager
def serving(replica: RunningPodAgent, program: str, port: int) -> Iterator[None]:
    server = start(replica, program, port)
    try:
        yield
    finally:
        server.kill()
        server.communicate()


def said(replica: RunningPodAgent, program: str, port: int) -> str:
    """What the program prints, once its server listens."""

    def printed() -> str | None:
        output, errors = start(replica, program, port).communicate(timeout=PATIENCE_SECONDS)
        assert output or "refused" in errors or "onnect" in errors, errors
        return output.strip() or None

    answer = eventually("the program's output", printed)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("server", "client"),
    [(UVICORN, HTTPX), (AIOHTTP_SERVER, AIOHTTP), (SOCKET_SERVER, SOCKET)],
    ids=["uvicorn", "aiohttp", "socket"],
)
def test_a_server_and_a_client_know_each_other_by_name(
    replicas: tuple[RunningPodAgent, RunningPodAgent], server: str, client: str
) -> None:
    first, second = replicas
    port = free_port()
    with serving(first, START + server, port):
        assert said(second, START + client, port) == "hello, acme:prod:shop:web:web-2"


def test_the_readmes_server_answers_the_readmes_client(
    replicas: tuple[RunningPodAgent, RunningPodAgent],
) -> None:
    first, second = replicas
    port = free_port()
    start_of_both = README_NEEDS + README_START
    with serving(first, start_of_both + README_SERVER, port):
        printing = README_CLIENT.replace("httpx.Client", "print(httpx.Client").rstrip() + ".json())"
        assert said(second, start_of_both + printing, port) == "hello, somebody"


def test_a_program_signs_with_the_pods_key(replicas: tuple[RunningPodAgent, RunningPodAgent]) -> None:
    assert said(replicas[0], SIGNING, free_port()) == "hello, acme:prod:shop:web:web-1"
