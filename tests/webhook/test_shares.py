"""What callers may hold, in all and by address."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from webhook.shares import Most, Place, Shares

MOST = Most(connections=8, others_connections=4, bytes=100, others_bytes=40)
API_SERVER = "10.0.0.1"


class Callers:
    """Connections by address, and which of them were ended."""

    def __init__(self, is_api_server: Callable[[str], bool | None] = lambda one: one == API_SERVER) -> None:
        self.ended: list[str] = []
        self.turned_away: list[str] = []
        self.shares = Shares(is_api_server, self.turned_away.append, MOST)

    def connect(self, address: str) -> Place | None:
        return self.shares.admit(address, lambda: self.ended.append(address))

    def connected(self, address: str, count: int = 1) -> list[Place]:
        places = [self.connect(address) for _ in range(count)]
        return [place for place in places if place is not None]


@pytest.fixture
def callers() -> Callers:
    return Callers()


def test_an_address_that_fills_the_small_part_is_refused_more_and_makes_room_for_another(
    callers: Callers,
) -> None:
    assert len(callers.connected("10.9.0.1", 10)) == MOST.others_connections
    assert callers.ended == []
    assert callers.connect("10.9.0.2") is not None
    assert callers.ended == ["10.9.0.1"]
    assert callers.shares.connections == MOST.others_connections


def test_api_servers_connect_however_many_others_do(callers: Callers) -> None:
    callers.connected("10.9.0.1", 10)
    assert len(callers.connected(API_SERVER, 8)) == 8
    assert callers.shares.connections == MOST.connections
    assert callers.ended == ["10.9.0.1"] * 4


def test_others_take_no_more_than_the_small_part_although_no_api_server_is_connected(
    callers: Callers,
) -> None:
    for n in range(8):
        assert callers.connect(f"10.9.0.{n}") is not None
    assert callers.shares.connections == MOST.others_connections
    assert callers.ended == [f"10.9.0.{n}" for n in range(4)]


def test_all_callers_share_all_as_long_as_no_api_server_is_known() -> None:
    callers = Callers(lambda _: None)
    assert len(callers.connected("10.9.0.1", 10)) == MOST.connections
    assert callers.connect("10.9.0.2") is not None
    (place,) = callers.connected("10.9.0.3")
    assert callers.shares.hold(place, MOST.bytes)


def test_the_addresses_of_an_ipv6_network_are_one(callers: Callers) -> None:
    callers.connected("2001:db8::1", 2)
    callers.connected("2001:db8::2", 2)
    assert callers.connect("2001:db8::3") is None
    assert callers.connect("2001:db8:0:1::1") is not None


def test_the_address_that_holds_most_bytes_gives_way(callers: Callers) -> None:
    places = callers.connected("10.9.0.1", 3)
    assert callers.shares.hold(places[0], 10)
    assert callers.shares.hold(places[1], 20)
    (other,) = callers.connected("10.9.0.2")
    assert callers.shares.hold(other, 15)
    assert callers.ended == ["10.9.0.1"]
    assert callers.shares.bytes == 25


def test_one_who_holds_most_is_refused_more_and_ends_nobody(callers: Callers) -> None:
    first, second = callers.connected("10.9.0.1", 2)
    assert callers.shares.hold(first, 30)
    assert not callers.shares.hold(second, 11)
    assert callers.ended == []
    assert callers.shares.bytes == 30
    assert callers.turned_away == ["bytes"]


def test_api_servers_hold_what_others_do_not_need_and_take_what_those_hold(callers: Callers) -> None:
    (other,) = callers.connected("10.9.0.1")
    assert callers.shares.hold(other, 40)
    first, second = callers.connected(API_SERVER, 2)
    assert callers.shares.hold(first, 60)
    assert callers.shares.hold(second, 10)
    assert callers.ended == ["10.9.0.1"]
    assert callers.shares.bytes == 70


def test_what_is_given_back_can_be_held_by_others(callers: Callers) -> None:
    places = callers.connected("10.9.0.1", 4)
    assert callers.shares.hold(places[0], 40)
    for place in [*places, *places]:
        callers.shares.release(place)
    assert (callers.shares.connections, callers.shares.bytes) == (0, 0)
    (again,) = callers.connected("10.9.0.2")
    assert callers.shares.hold(again, 40)
