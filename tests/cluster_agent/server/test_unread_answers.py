"""Clients that ask, and do not read what they are answered; and those that read it slowly."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import pytest

from tests.cluster_agent.server.connections import connected, port_of, shaken_hands
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.waiting import wait_for

DEADLINE_SECONDS = 5
# The kernel takes some megabytes for a client that does not read, on the loopback; the answers are more.
# And the requests fit into one TLS record, so that none of them waits half read behind the others' answers.
REQUESTS = 400
MORE_THAN_THE_KERNEL_TAKES = 5_000_000
SMALL_WINDOW = 4096
_ESTABLISHED = "01"

Connect = Callable[[RunningClusterAgent], AbstractContextManager[socket.socket]]


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(
        tmp_path_factory.mktemp("impatient"),
        handshake_seconds=30,
        request_seconds=DEADLINE_SECONDS,
        rate_per_address=10**6,
    ) as running:
        yield running


def main_port(agent: RunningClusterAgent) -> AbstractContextManager[socket.socket]:
    """A connection that nobody displaces: with a bootstrap credential, as each Pod has one."""
    return shaken_hands(agent, agent.new_secret(), receive_buffer=SMALL_WINDOW)


def health_port(agent: RunningClusterAgent) -> AbstractContextManager[socket.socket]:
    return connected(agent.health_url, receive_buffer=SMALL_WINDOW)


BOTH_PORTS = pytest.mark.parametrize(
    ("connect", "path"),
    [(main_port, "/openapi.json"), (health_port, "/metrics/")],
    ids=["main", "health"],
)


def ask(connection: socket.socket, path: str) -> None:
    """Many times at once, the last time saying so."""
    one = f"GET {path} HTTP/1.1\r\nhost: x\r\n"
    connection.sendall((f"{one}\r\n" * (REQUESTS - 1) + f"{one}connection: close\r\n\r\n").encode())


def connections_at(url: str) -> int:
    """How many the program holds open at that port, as the kernel knows: what it gave up is not counted,
    though its client was not told."""
    port = f"{port_of(url):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(":" + port) and line[3] == _ESTABLISHED for line in lines)


def held_by_the_kernel(url: str) -> int:
    """The bytes that the program at that port has sent and the clients have not acknowledged, of the
    connection that has most."""
    port = f"{port_of(url):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return max((int(line[4].split(":")[0], 16) for line in lines if line[1].endswith(":" + port)), default=0)


@BOTH_PORTS
def test_attack_what_nobody_reads_does_not_fill_the_kernel(
    impatient: RunningClusterAgent, connect: Connect, path: str
) -> None:
    url = impatient.url if connect is main_port else impatient.health_url
    with connect(impatient) as connection:
        ask(connection, path)
        wait_for("an answer", lambda: held_by_the_kernel(url) > 0)
        most = 0
        for _ in range(30):
            most = max(most, held_by_the_kernel(url))
            time.sleep(0.05)
    assert 0 < most < 1_000_000


@BOTH_PORTS
def test_attack_who_reads_no_answers_is_let_go(
    impatient: RunningClusterAgent, connect: Connect, path: str
) -> None:
    url = impatient.url if connect is main_port else impatient.health_url
    wait_for("no connections", lambda: connections_at(url) == 0)
    with ExitStack() as stack:
        for _ in range(3):
            ask(stack.enter_context(connect(impatient)), path)
        wait_for("no connections", lambda: connections_at(url) == 0)


@BOTH_PORTS
def test_attack_who_trickles_its_answers_is_let_go(
    impatient: RunningClusterAgent, connect: Connect, path: str
) -> None:
    url = impatient.url if connect is main_port else impatient.health_url
    wait_for("no connections", lambda: connections_at(url) == 0)
    with connect(impatient) as connection:
        ask(connection, path)

        def gone() -> bool:
            with suppress(OSError):
                connection.recv(1)
            return connections_at(url) == 0

        wait_for("no connections", gone)


@BOTH_PORTS
def test_who_reads_slowly_gets_all_that_it_asked_for(
    impatient: RunningClusterAgent, connect: Connect, path: str
) -> None:
    with connect(impatient) as connection:
        ask(connection, path)
        slowly_until = time.monotonic() + 4 * DEADLINE_SECONDS
        received, answers = 0, 0
        while part := connection.recv(8192):
            received += len(part)
            answers += part.count(b"HTTP/1.1 200 OK\r\n")
            if time.monotonic() < slowly_until:
                time.sleep(0.1)
    assert REQUESTS * 0.9 < answers <= REQUESTS  # some heads are in two parts
    assert received > MORE_THAN_THE_KERNEL_TAKES
