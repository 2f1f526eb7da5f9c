"""The program against clients that take their time, that come in numbers, or that ask too often; and its end
while clients are being served."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from blessings import Blessing, Principal
from service.bounded_log import AT_ONCE, PER_SECOND
from tests.cluster_agent.server.connections import connected, nameless, shaken_hands
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.waiting import PATIENCE_SECONDS, wait_for

# Of the impatient agent: enough for a whole handshake or request, however busy the machine.
DEADLINE_SECONDS = 5


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """An agent whose clients have little time."""
    with running_cluster_agent(
        tmp_path_factory.mktemp("impatient"),
        handshake_seconds=DEADLINE_SECONDS,
        request_seconds=DEADLINE_SECONDS,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """An agent with little room, whose clients have more time than any test takes."""
    with running_cluster_agent(
        tmp_path_factory.mktemp("crowded"),
        handshake_seconds=60,
        request_seconds=60,
        max_connections=12,
        max_connections_per_address=8,
        nameless_share=1,
        rate_per_replica=0.001,
    ) as running:
        yield running


def request(agent: RunningClusterAgent) -> bytes:
    body = json.dumps({"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}).encode()
    head = f"POST /v1/seek-blessings HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    return (head + "content-type: application/json\r\n\r\n").encode() + body


def answer(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection, or an answer's body is complete."""
    received = b""
    while part := connection.recv(65536):
        received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length and len(body) >= int(length[0].split(b":")[1]):
            break
    return received


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, without an answer, before our own timeout."""
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:  # reset
        return True


def wait_until_no_connections(agent: RunningClusterAgent) -> None:
    def metrics() -> str:
        return httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text

    wait_for("no connections", lambda: "vanadium_cluster_agent_connections 0.0" in metrics(), story=metrics)


def test_a_client_that_does_not_shake_hands_is_let_go(impatient: RunningClusterAgent) -> None:
    with connected(impatient.url) as silent, connected(impatient.url) as slow:
        slow.sendall(b"\x16\x03\x01")
        assert ended(silent)
        assert ended(slow)
    wait_until_no_connections(impatient)


def test_a_client_that_asks_nothing_is_let_go(impatient: RunningClusterAgent) -> None:
    with shaken_hands(impatient, impatient.new_secret()) as connection:
        assert ended(connection)


@pytest.mark.parametrize("part", [20, -10], ids=["head", "body"])
def test_a_request_that_does_not_arrive_whole_is_let_go(impatient: RunningClusterAgent, part: int) -> None:
    with shaken_hands(impatient, impatient.new_secret()) as connection:
        connection.sendall(request(impatient)[:part])
        assert ended(connection)
    wait_until_no_connections(impatient)


def test_a_second_request_has_a_deadline_too(impatient: RunningClusterAgent) -> None:
    with shaken_hands(impatient, impatient.new_secret()) as connection:
        connection.sendall(request(impatient))
        assert answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(request(impatient)[:-10])
        assert ended(connection)


def test_a_request_that_trickles_in_within_its_time_is_answered(agent: RunningClusterAgent) -> None:
    with shaken_hands(agent, agent.new_secret()) as connection:
        whole = request(agent)
        for position in range(0, len(whole), 200):
            connection.sendall(whole[position : position + 200])
            time.sleep(0.001)
        assert answer(connection).startswith(b"HTTP/1.1 200")


def test_headers_without_end_are_let_go(crowded: RunningClusterAgent) -> None:
    with shaken_hands(crowded, crowded.new_secret()) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        sent = 0
        with suppress(OSError):
            for number in range(10_000):
                connection.sendall(f"x-{number}: {'x' * 1000}\r\n".encode())
                sent += 1000
        # What is in the sockets' buffers was sent, but not read.
        assert sent < 8_000_000


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nx"], ids=["nothing", "half a head"])
def test_attack_the_health_port_lets_go_who_does_not_ask(impatient: RunningClusterAgent, sent: bytes) -> None:
    with connected(impatient.health_url) as connection:
        connection.sendall(sent)
        assert ended(connection)


def test_attack_headers_without_end_at_the_health_port(agent: RunningClusterAgent) -> None:
    with connected(agent.health_url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        sent = 0
        with suppress(OSError):
            for number in range(10_000):
                connection.sendall(f"x-{number}: {'x' * 1000}\r\n".encode())
                sent += 1000
        # What is in the sockets' buffers was sent, but not read.
        assert sent < 8_000_000


@pytest.mark.parametrize(
    "more",
    [b"\r\nGET /healthz HTTP/1.1\r\nx: ", b"transfer-encoding: chunked\r\n\r\n0\r\nx: "],
    ids=["second head", "trailer"],
)
def test_attack_a_header_without_end_after_an_answer_is_let_go(
    agent: RunningClusterAgent, more: bytes
) -> None:
    """The parser copies it with each further part: megabytes of it would stop the event loop."""
    with connected(agent.health_url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: agent\r\n" + more)
        assert answer(connection).startswith(b"HTTP/1.1 200")
        sent = 0
        with suppress(OSError):
            for _ in range(160):
                connection.sendall(b"x" * 65536)
                sent += 65536
        assert sent < 8_000_000


def test_attack_many_connections_to_the_health_port_leave_room_for_the_probes(
    crowded: RunningClusterAgent,
) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(crowded.health_url, "127.0.0.3"))
        ninth = stack.enter_context(connected(crowded.health_url, "127.0.0.3"))
        assert ended(ninth)
        assert httpx.get(f"{crowded.health_url}/readyz").status_code == 200


def test_connections_from_one_address_are_limited_and_other_addresses_have_room(
    crowded: RunningClusterAgent,
) -> None:
    wait_until_no_connections(crowded)
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connected(crowded.url, "127.0.0.2"))
        ninth = stack.enter_context(connected(crowded.url, "127.0.0.2"))
        assert ended(ninth)
        with crowded.client(None, None) as client:
            assert client.get("/healthz").status_code == 200
    metrics = httpx.get(f"{crowded.health_url}/metrics", follow_redirects=True).text
    assert "vanadium_cluster_agent_connections_turned_away_total 0.0" not in metrics
    wait_until_no_connections(crowded)


def test_connections_in_all_are_limited_and_there_is_room_again_when_they_end(
    crowded: RunningClusterAgent,
) -> None:
    wait_until_no_connections(crowded)
    with ExitStack() as stack:
        for number in range(12):
            stack.enter_context(connected(crowded.url, f"127.0.0.{10 + number}"))
        # From an address that has as many as any other; one from elsewhere would take the oldest's place.
        one_more = stack.enter_context(connected(crowded.url, "127.0.0.10"))
        assert ended(one_more)
    wait_until_no_connections(crowded)
    with crowded.client(None, None) as client:
        assert client.get("/healthz").status_code == 200


def test_a_replica_that_asks_too_often_is_told_when_to_come_again(crowded: RunningClusterAgent) -> None:
    secret = crowded.new_secret()
    principal = Principal.create()
    body = {"csr": csr_of(principal), "token": pod_token(crowded.tokens)}
    with crowded.credential_client(secret["credential"]) as client:
        chain = client.post("/v1/seek-blessings", json=body).json()["chain"]
    statuses = []
    with crowded.client(principal, Blessing.from_pem(chain)) as replica:
        for _ in range(2):
            body = {"csr": csr_of(Principal.create()), "token": pod_token(crowded.tokens)}
            response = replica.post("/v1/seek-blessings", json=body)
            statuses.append(response.status_code)
    assert statuses == [200, 429]
    assert response.json()["error"]["reason"] == "TooManyRequests"
    assert 1 <= int(response.headers["retry-after"]) <= 1000


def test_attack_a_header_that_names_another_address_does_not_help(tmp_path: Path) -> None:
    with (
        running_cluster_agent(tmp_path, rate_per_address=0.001) as agent,
        agent.client(None, None) as client,
    ):
        statuses = [
            client.get("/healthz", headers={"x-forwarded-for": f"10.0.0.{number}"}).status_code
            for number in range(2)
        ]
    assert statuses == [200, 429]


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("DELETE", "/v1/seek-blessings")])
def test_attack_what_is_not_served_counts_as_a_request_too(tmp_path: Path, method: str, path: str) -> None:
    """A credential's connection stays open after such an answer."""
    with running_cluster_agent(tmp_path, rate_per_address=0.001) as agent:
        secret = agent.new_secret()
        with agent.credential_client(secret["credential"]) as client:
            answers = [client.request(method, path) for _ in range(2)]
    assert [one.status_code for one in answers] == [404 if path == "/nothing" else 405, 429]
    assert answers[1].headers["retry-after"]


@pytest.mark.parametrize("named", [True, False], ids=["credential", "no certificate"])
def test_attack_a_body_that_is_too_long_counts_as_a_request_too(tmp_path: Path, named: bool) -> None:
    with running_cluster_agent(tmp_path, rate_per_address=0.001) as agent:
        secret = agent.new_secret()
        client = agent.credential_client(secret["credential"]) if named else agent.client(None, None)
        with client:
            answers = [client.post("/v1/seek-blessings", content=b" " * 65537) for _ in range(2)]
    assert [one.status_code for one in answers] == [413, 429]
    assert answers[1].headers["retry-after"]


def test_sigterm_lets_what_was_begun_be_answered(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        secret = agent.new_secret()
        with shaken_hands(agent, secret) as half_sent, shaken_hands(agent, secret) as nothing_sent:
            whole = request(agent)
            half_sent.sendall(whole[:-100])
            agent.process.send_signal(signal.SIGTERM)
            _wait_until_it_listens_no_more(agent)
            half_sent.sendall(whole[-100:])
            assert answer(half_sent).startswith(b"HTTP/1.1 200")
            nothing_sent.sendall(request(agent))
            assert answer(nothing_sent).startswith(b"HTTP/1.1 200")
            assert agent.process.wait(PATIENCE_SECONDS) == 0


def test_during_the_delay_after_sigterm_it_is_not_ready_and_serves(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, shutdown_delay_seconds=3600) as agent:
        secret = agent.new_secret()
        agent.process.send_signal(signal.SIGTERM)
        wait_for("unready", lambda: httpx.get(f"{agent.health_url}/readyz").status_code == 503)
        with shaken_hands(agent, secret) as connection:
            connection.sendall(request(agent))
            assert answer(connection).startswith(b"HTTP/1.1 200")
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()


def test_after_the_delay_it_ends(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, shutdown_delay_seconds=0.5) as agent:
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(PATIENCE_SECONDS) == 0


def _wait_until_it_listens_no_more(agent: RunningClusterAgent) -> None:
    def refused() -> bool:
        try:
            with connected(agent.url):
                return False
        except ConnectionRefusedError:
            return True

    wait_for("no more connections", refused)


def test_attack_malformed_requests_do_not_fill_the_log(agent: RunningClusterAgent) -> None:
    before, began = agent.log().count("Invalid HTTP request"), time.monotonic()
    for _ in range(150):
        with nameless(agent) as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert answer(client).startswith(b"HTTP/1.1 400")
    most = AT_ONCE + PER_SECOND * (time.monotonic() - began) + 1
    assert 0 < agent.log().count("Invalid HTTP request") - before <= most
