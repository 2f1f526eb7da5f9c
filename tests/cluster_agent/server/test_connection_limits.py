"""Which connections end when there are too many: of those without a certificate, which have a share, by
address; of those with one, by the application that holds most."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from blessings import Authority, Name, Principal
from cluster_agent.errors import Limit
from cluster_agent.server.connection_limits import ConnectionLimits, Place, State
from cluster_agent.server.connections import application_of
from tests.cluster_agent.server.connections import connected, nameless, shaken_hands
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
    """A connection of that address, with or without a certificate, and whether it was ended."""

    def __init__(
        self, counted: ConnectionLimits, address: str, application: str | None = None, *, busy: bool = False
    ) -> None:
        self.ended = False
        self.busy = busy
        self.place = admitted(counted, address)
        self.place.end = self._end
        self.place.is_busy = lambda: self.busy
        if application is not None:
            counted.name(self.place, application)

    def _end(self, limit: Limit, state: State) -> None:
        self.ended = True
        self.cause = limit, state


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
        counted.name(admitted(counted, f"named-{number}"), f"application-{number}")
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
    counted.name(named.place, "acme:web")
    for number in range(100):
        admitted(counted, f"address-{number}")
    assert not named.ended
    assert counted.open == SHARE + 1


def test_a_connection_that_was_ended_for_another_is_released_once() -> None:
    counted = limits()
    held = [Held(counted, "one") for _ in range(SHARE)]
    admitted(counted, "two")
    counted.name(held[0].place, "acme:web")
    counted.release(held[0].place)
    assert (counted.open, counted.nameless) == (SHARE, SHARE)
    for one in held:
        counted.release(one.place)
    assert counted.open == 1


def test_attack_an_application_that_holds_all_places_makes_room_and_no_other_does() -> None:
    counted = limits()
    other = Held(counted, "other", "other")
    hostile = [Held(counted, f"hostile-{number % 3}", "hostile") for number in range(19)]
    newcomer = Held(counted, "another", "other")
    assert [one.ended for one in hostile] == [True] + [False] * 18
    assert hostile[0].cause == ("connections", "idle")
    assert not other.ended
    assert not newcomer.ended
    assert counted.open == 20


def test_attack_many_applications_at_one_address_hold_no_more_than_one_application_would() -> None:
    counted = limits()
    fleet = [Held(counted, f"node-{number}", "fleet") for number in range(6)]
    hostile = [Held(counted, f"hostile-{number % 2}", f"hostile-{number}") for number in range(14)]
    admitted(counted, "another")
    assert [one.ended for one in hostile].index(True) == 0
    assert not any(one.ended for one in fleet)


def test_a_request_in_progress_is_not_lost_while_there_is_an_idle_connection() -> None:
    counted = limits()
    most = [Held(counted, "many", "many", busy=True) for _ in range(8)]
    most += [Held(counted, f"many-{number}", "many", busy=True) for number in range(11)]
    idle = Held(counted, "few", "few")
    admitted(counted, "another")
    assert idle.ended
    assert not any(one.ended for one in most)
    admitted(counted, "another")
    assert [one.ended for one in most] == [True] + [False] * 18
    assert most[0].cause == ("connections", "busy")


def test_an_address_that_is_full_has_room_for_who_comes_after_an_application_that_holds_it() -> None:
    """Behind address translation, clients of several applications have one address."""
    counted = limits()
    other = Held(counted, "one", "other")
    hostile = [Held(counted, "one", "hostile") for _ in range(7)]
    admitted(counted, "one")
    assert [one.ended for one in hostile] == [True] + [False] * 6
    assert hostile[0].cause == ("connections-from-address", "idle")
    assert not other.ended


def test_attack_the_nameless_of_a_full_address_end_few_connections_with_a_certificate() -> None:
    counted = limits()
    named = [Held(counted, "one", f"application-{number}") for number in range(8)]
    for _ in range(100):
        counted.admit("one")
    assert sum(one.ended for one in named) == counted.most_nameless_from_address == 2
    assert counted.admit("one") == "connections-from-address"


def test_attack_a_network_of_ipv6_addresses_has_the_limit_of_one_address() -> None:
    counted = limits()
    for number in range(100):
        admitted(counted, f"2001:db8:0:1::{number:x}")
    assert counted.open == counted.nameless == SHARE
    # These came from somewhere else, so they replace what the network has.
    others = [Held(counted, address) for address in ("2001:db8:0:2::1", "192.0.2.1")]
    for number in range(100):
        counted.admit(f"2001:db8:0:1::{number:x}")
    assert not any(one.ended for one in others)


def test_attack_one_address_of_a_network_does_not_keep_out_the_others_of_it() -> None:
    """The Pods of a node often share a network of 64 bits."""
    counted = limits(most=100)
    hostile = [Held(counted, "2001:db8::1") for _ in range(8)]
    assert counted.admit("2001:db8::1") == "connections-from-address"
    admitted(counted, "2001:db8::2")
    assert [one.ended for one in hostile] == [True] + [False] * 7


def test_an_ipv4_address_is_the_same_one_at_a_socket_for_both_families() -> None:
    counted = limits(most=100)
    for _ in range(4):
        admitted(counted, "192.0.2.1")
        admitted(counted, "::ffff:192.0.2.1")
    assert counted.admit("192.0.2.1") == "connections-from-address"


def test_an_application_is_above_its_replicas_and_a_credential_is_its_own() -> None:
    root = Authority.create_root(
        Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=timedelta(days=1)
    )

    def application(extension: str) -> str:
        key = Principal.create().public_key
        return application_of(root.bless(key, extension, now=datetime.now(UTC), lifetime=timedelta(hours=1)))

    assert application("prod:shop:web:web-1") == application("prod:shop:web:web-2") == "acme:prod:shop:web"
    assert application("0123") == "acme:0123"


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


def test_attack_one_credential_on_all_places_from_many_addresses_keeps_out_no_other(
    small: RunningClusterAgent,
) -> None:
    hostile, other = small.new_secret(), small.new_secret(service_account="other")
    wait_for("no connections", lambda: sample(small, "vanadium_cluster_agent_connections") == 0)
    evicted = 'vanadium_cluster_agent_connections_evicted_total{limit="connections",state="%s"}'
    before = sample(small, evicted % "idle")
    with ExitStack() as stack:
        in_progress = stack.enter_context(shaken_hands(small, hostile, "127.0.0.40"))
        in_progress.sendall(b"GET /healthz HTTP/1.1\r\n")
        for number in range(19):
            source = f"127.0.0.{40 + number % 3}"
            assert ask(stack.enter_context(shaken_hands(small, hostile, source)), "/healthz") == (200, False)
        for _ in range(5):
            with small.credential_client(other["credential"]) as client:
                assert client.get("/healthz").status_code == 200
        in_progress.sendall(b"host: localhost\r\n\r\n")
        assert in_progress.recv(65536).startswith(b"HTTP/1.1 200")
    assert sample(small, evicted % "idle") > before
    assert sample(small, evicted % "busy") == 0


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
