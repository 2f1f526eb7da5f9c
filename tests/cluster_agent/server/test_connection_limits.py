"""Who may have a connection when there are too many: without certificates, as a share and address by address;
with one, whatever the others hold."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from cluster_agent.server.connection_limits import ConnectionLimits, Place
from tests.cluster_agent.server.connections import connected, nameless
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.waiting import wait_for

SHARE = 6


def limits(most: int = 20) -> ConnectionLimits:
    return ConnectionLimits(
        most, most_from_address=8, handshake_seconds=5, request_seconds=10, nameless_share=SHARE / 20
    )


def admitted(counted: ConnectionLimits, address: str) -> Place:
    place = counted.admit(address)
    assert isinstance(place, Place)
    return place


class Held:
    """A nameless connection of that address, and whether it was ended."""

    def __init__(self, counted: ConnectionLimits, address: str) -> None:
        self.ended = False
        self.place = admitted(counted, address)
        self.place.end = self._end

    def _end(self) -> None:
        self.ended = True


def test_a_connection_that_ended_is_held_by_its_place_no_more() -> None:
    """Else its memory, and that of its TLS, waits for the collector of cycles."""

    counted = limits()
    connection = Held(counted, "one")
    place, held = connection.place, weakref.ref(connection)
    counted.release(place)
    gc.disable()
    try:
        del connection
        assert held() is None
    finally:
        gc.enable()


def test_a_newcomer_takes_the_place_of_the_oldest_of_the_address_that_has_most() -> None:
    counted = limits()
    held = [Held(counted, address) for address in ("few", "many", "many", "few", "many", "many")]
    admitted(counted, "another")
    assert [one.ended for one in held] == [False, True, False, False, False, False]
    assert counted.nameless == counted.open == SHARE


def test_newcomers_from_the_address_that_has_most_are_turned_away_and_end_no_handshake() -> None:
    counted = limits()
    held = [Held(counted, "one") for _ in range(SHARE)]
    assert counted.admit("one") == "connections-nameless"
    assert not any(one.ended for one in held)


def test_the_named_have_all_that_the_nameless_share_leaves_and_more() -> None:
    counted = limits()
    for number in range(20):
        counted.name(admitted(counted, f"named-{number}"))
    assert (counted.open, counted.nameless) == (20, 0)
    assert counted.admit("another") == "connections"


def test_attack_the_nameless_hold_no_more_than_their_share_from_however_many_addresses() -> None:
    counted = limits()
    for number in range(1000):
        admitted(counted, f"address-{number}")
        assert counted.nameless <= SHARE
    assert counted.open == SHARE


def test_who_got_a_name_is_not_ended_for_a_newcomer() -> None:
    counted = limits()
    named = Held(counted, "one")
    counted.name(named.place)
    for number in range(100):
        admitted(counted, f"address-{number}")
    assert not named.ended
    assert counted.open == SHARE + 1


def test_a_connection_that_was_ended_for_another_is_released_once() -> None:
    counted = limits()
    held = [Held(counted, "one") for _ in range(SHARE)]
    admitted(counted, "two")
    counted.name(held[0].place)
    counted.release(held[0].place)
    assert (counted.open, counted.nameless) == (SHARE, SHARE)
    for one in held:
        counted.release(one.place)
    assert counted.open == 1


# The program.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    """An agent with room for 20, of which 6 may be nameless, and with more patience than any test."""
    with running_cluster_agent(
        tmp_path_factory.mktemp("small"),
        max_connections=20,
        max_connections_per_address=8,
        nameless_share=SHARE / 20,
        handshake_seconds=300,
        request_seconds=300,
        rate_per_address=10**6,
    ) as agent:
        yield agent


def ask(connection: ssl.SSLSocket, path: str) -> tuple[int, bool]:
    """The answer's status, and whether the connection ends with it."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    received = b""
    while part := connection.recv(65536):
        received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        if len(body) >= int(length.split(b":")[1]):
            break
    status = int(received.split(b" ", 2)[1])
    if b"\r\nconnection: close" not in head:
        return status, False
    return status, connection.recv(1) == b""


def sample(agent: RunningClusterAgent, name: str) -> float:
    text = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def test_attack_a_nameless_flood_holds_its_share_and_who_has_a_certificate_is_answered(
    small: RunningClusterAgent,
) -> None:
    before = sample(small, 'vanadium_cluster_agent_overload_total{limit="connections-nameless"}')
    with ExitStack() as stack:
        for number in range(5):
            # Some get as far as they can without a certificate, and stay; some don't even shake hands.
            source = f"127.0.0.{20 + number}"
            stack.enter_context(nameless(small, source))
            for _ in range(5):
                stack.enter_context(connected(small.url, source))
        wait_for("the flood", lambda: sample(small, "vanadium_cluster_agent_connections") == SHARE)
        for _ in range(3):
            with small.control_plane_client() as client:
                assert client.get("/v1/secrets").status_code == 200
        assert sample(small, "vanadium_cluster_agent_connections_nameless") <= SHARE
        cost = sample(small, 'vanadium_cluster_agent_overload_total{limit="connections-nameless"}') - before
        assert cost >= 5 * 6 - SHARE


def test_a_nameless_connection_ends_with_a_refusal_and_not_with_an_answer(small: RunningClusterAgent) -> None:
    with nameless(small) as connection:
        assert ask(connection, "/healthz") == (200, False)
        assert ask(connection, "/v1/secrets") == (401, True)
    with nameless(small) as connection:
        assert ask(connection, "/nowhere") == (404, True)


def test_a_nameless_connection_ends_when_it_is_told_to_wait(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, rate_per_address=0.001) as agent, nameless(agent) as connection:
        assert ask(connection, "/healthz") == (200, False)
        assert ask(connection, "/healthz") == (429, True)


def test_a_connection_with_a_certificate_outlives_a_refusal(small: RunningClusterAgent) -> None:
    with small.control_plane_client("somebody") as client:
        response = client.get("/v1/secrets")
        assert (response.status_code, response.headers.get("connection")) == (403, None)
