"""The limits on connections, and which connection is ended when there are too many.

No client is known before its handshake ends. So connections without a client certificate, including
handshakes, have a share of their own: they cannot keep out the clients that would present one. When that
share is full, a new connection replaces the oldest one of the address that has most of them. A new connection
is only refused when its own address has as many: otherwise the handshakes of that address would replace each
other, and all of them would fail.

A connection with a client certificate belongs to the application that the certificate names. When there is no
place left, in all or for an address, the new connection replaces one of the application that holds most, so
that one credential, however many connections it keeps open, closes the agent to its own application only. An
idle connection makes room before any that has a request in progress.

An address of IPv6 is one of a network of 64 bits, all of which one client may have: the network has the limit
of an address, and its addresses share it in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from cluster_agent.errors import Limit
from service.addresses import network_of, plain_address

# What a connection was when it was ended for another one; `idle` and `busy` have a client certificate.
State = Literal["nameless", "idle", "busy"]
CONNECTION_LIMITS: tuple[Limit, ...] = ("connections-nameless", "connections-from-address", "connections")


def _nothing(_limit: Limit, _state: State) -> None:
    pass


def _busy() -> bool:
    return True


@dataclass(eq=False)
class Place:
    """The place of one connection.

    `end` is called to end it when its place is given to another one, with the limit that was reached.
    `is_busy` returns whether the connection has a request in progress. `application` is the client
    certificate's, None without one.
    """

    address: str
    network: str
    end: Callable[[Limit, State], None] = _nothing
    is_busy: Callable[[], bool] = _busy
    application: str | None = None


@dataclass
class ConnectionLimits:
    """How many connections there may be, including handshakes: in all, from one address, and, as a share of
    all, without a client certificate. Also how long a handshake and the arrival of a request may take, which
    is also how often the sending of an answer is checked."""

    most: int
    most_from_address: int
    handshake_seconds: float
    request_seconds: float
    nameless_share: float
    _from: Counter[str] = field(default_factory=Counter)
    # Dicts, because they keep the order: oldest first.
    _named: dict[Place, None] = field(default_factory=dict)
    _nameless: dict[Place, None] = field(default_factory=dict)

    @property
    def open(self) -> int:
        return len(self._named) + len(self._nameless)

    @property
    def nameless(self) -> int:
        return len(self._nameless)

    @property
    def most_nameless(self) -> int:
        return max(1, int(self.most * self.nameless_share))

    @property
    def most_nameless_from_address(self) -> int:
        """So many without a client certificate may make those with one leave when their address is full."""
        return max(1, int(self.most_from_address * self.nameless_share))

    def admit(self, address: str) -> Place | Limit:
        """A place for one more connection from `address`, without a client certificate, until `release`; or
        the limit that it would exceed. May end other connections."""
        place = Place(plain_address(address), network_of(address))
        ending: dict[Place, Limit] = {}
        for limit in CONNECTION_LIMITS:
            if self._is_reached(limit, place, ending):
                unneeded = self._least_needed(limit, place)
                if unneeded is None:
                    return limit
                ending[unneeded] = limit
        for one, limit in ending.items():
            end, state = one.end, _state(one)
            self.release(one)
            end(limit, state)
        self._nameless[place] = None
        self._from[place.network] += 1
        return place

    def name(self, place: Place, application: str) -> None:
        """Notes that the client presented a certificate that is accepted, of that application."""
        if place in self._nameless:
            del self._nameless[place]
            place.application = application
            self._named[place] = None

    def release(self, place: Place) -> None:
        """Gives the place back. A second call changes nothing."""
        if place not in self._named and place not in self._nameless:
            return
        self._named.pop(place, None)
        self._nameless.pop(place, None)
        # These refer to the connection, which refers to its place: this circle would wait for the garbage
        # collector.
        place.end, place.is_busy = _nothing, _busy
        self._from[place.network] -= 1
        if self._from[place.network] <= 0:
            del self._from[place.network]

    def _is_reached(self, limit: Limit, newcomer: Place, ending: Iterable[Place]) -> bool:
        """Whether there is no room under `limit`, when those that are `ending` are gone."""
        if limit == "connections-nameless":
            return self.nameless - sum(one.application is None for one in ending) >= self.most_nameless
        if limit == "connections-from-address":
            gone = sum(one.network == newcomer.network for one in ending)
            return self._from[newcomer.network] - gone >= self.most_from_address
        return self.open - sum(1 for _ in ending) >= self.most

    def _least_needed(self, limit: Limit, newcomer: Place) -> Place | None:
        """The connection that `newcomer` replaces; None when the newcomer is refused."""
        if limit == "connections-nameless":
            return _oldest_of_most(self._nameless, newcomer)
        if limit == "connections-from-address":
            nameless = [one for one in self._nameless if one.network == newcomer.network]
            unneeded = _oldest_of_most(nameless, newcomer)
            if unneeded is not None or len(nameless) >= self.most_nameless_from_address:
                return unneeded
            named = [one for one in self._named if one.network == newcomer.network]
            return _idle_of_most(named, lambda one: one.address)
        unneeded = _idle_of_most(self._named, lambda one: one.network)
        return unneeded or _oldest_of_most(self._nameless, newcomer)


def _oldest_of_most(nameless: Iterable[Place], newcomer: Place) -> Place | None:
    """The oldest connection of the network, and in it of the address, that has most; None when that is the
    newcomer's."""
    by_network = Counter(one.network for one in nameless)
    most = max(by_network.values(), default=0)
    if by_network[newcomer.network] < most:
        crowd = [one for one in nameless if by_network[one.network] == most]
    else:
        crowd = [one for one in nameless if one.network == newcomer.network]
    by_address = Counter(one.address for one in crowd)
    most = max(by_address.values(), default=0)
    if by_address[newcomer.address] >= most:
        return None
    return next(one for one in crowd if by_address[one.address] == most)


def _idle_of_most(named: Iterable[Place], origin: Callable[[Place], str]) -> Place | None:
    """The oldest idle connection of the application and the origin that together hold most; when all are
    busy, the oldest of these, unless each application and each origin has only one."""
    by_application = Counter(one.application for one in named)
    by_origin = Counter(origin(one) for one in named)

    def held(one: Place) -> int:
        return by_application[one.application] + by_origin[origin(one)]

    idle = [one for one in named if not one.is_busy()]
    return max(idle or [one for one in named if held(one) > 2], key=held, default=None)


def _state(place: Place) -> State:
    if place.application is None:
        return "nameless"
    return "busy" if place.is_busy() else "idle"
