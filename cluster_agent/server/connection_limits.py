"""The limits on connections, and which connection is ended when there are too many.

No client is known before its handshake ends. So connections without a client certificate, including
handshakes, have a share of their own: they cannot keep out the clients that would present one. When that
share is full, a new connection replaces the oldest one of the address that has most of them. A new connection
is only refused when its own address has as many: otherwise the handshakes of that address would replace each
other, and all of them would fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster_agent.errors import Limit


def _nothing() -> None:
    pass


@dataclass(eq=False)
class Place:
    """The place of one connection. `end` is called to end it when its place is given to another one."""

    address: str
    end: Callable[[], None] = _nothing


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
    _places: set[Place] = field(default_factory=set)
    # A dict, because it keeps the order: oldest first.
    _nameless: dict[Place, None] = field(default_factory=dict)

    @property
    def open(self) -> int:
        return len(self._places)

    @property
    def nameless(self) -> int:
        return len(self._nameless)

    @property
    def most_nameless(self) -> int:
        return max(1, int(self.most * self.nameless_share))

    def admit(self, address: str) -> Place | Limit:
        """A place for one more connection from `address`, without a client certificate, until `release`; or
        the limit that it would exceed. May end another connection without a client certificate."""
        if self._from[address] >= self.most_from_address:
            return "connections-from-address"
        full = self.open >= self.most
        if full or self.nameless >= self.most_nameless:
            oldest = self._oldest_of_most(address)
            if oldest is None:
                return "connections" if full else "connections-nameless"
            end = oldest.end
            self.release(oldest)
            end()
        place = Place(address)
        self._places.add(place)
        self._nameless[place] = None
        self._from[address] += 1
        return place

    def name(self, place: Place) -> None:
        """Notes that the client presented a certificate that is accepted."""
        self._nameless.pop(place, None)

    def release(self, place: Place) -> None:
        """Gives the place back. A second call changes nothing."""
        if place not in self._places:
            return
        self._places.remove(place)
        self._nameless.pop(place, None)
        # `end` refers to the connection, which refers to its place: this circle would wait for the garbage
        # collector.
        place.end = _nothing
        self._from[place.address] -= 1
        if self._from[place.address] <= 0:
            del self._from[place.address]

    def _oldest_of_most(self, newcomer: str) -> Place | None:
        held = Counter(place.address for place in self._nameless)
        most = max(held.values(), default=0)
        if held[newcomer] >= most:
            return None
        return next(place for place in self._nameless if held[place.address] == most)
