"""How many connections there may be, and who makes room when there are too many.

Nobody has a name before the handshake ends. So connections without a name, handshakes among them, have a
share of their own, and what they hold cannot keep out those who would show a certificate: a newcomer takes
the place of the one that is there longest, of the address that has most of them. Only an address that has as
many itself is turned away, so that its handshakes don't push each other out, and all of them fail.
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
    """One connection's. `end` is called to end the connection when another one is given its place."""

    address: str
    end: Callable[[], None] = _nothing


@dataclass
class ConnectionLimits:
    """How many connections there may be, handshakes included, in all, from one address, and, as a share of
    all, without a client certificate; and how long a handshake and the arrival of a request may take. An
    answer's taking is looked at as often."""

    most: int
    most_from_address: int
    handshake_seconds: float
    request_seconds: float
    nameless_share: float
    _from: Counter[str] = field(default_factory=Counter)
    _places: set[Place] = field(default_factory=set)
    # A dict for its order: by age.
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
        """A place for one more from `address`, without a name, until `release`; or the limit that it is
        beyond. May end another one without a name."""
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
        """Its client showed a certificate that is accepted."""
        self._nameless.pop(place, None)

    def release(self, place: Place) -> None:
        """It ended. Doing so again changes nothing."""
        if place not in self._places:
            return
        self._places.remove(place)
        self._nameless.pop(place, None)
        # What ends the connection holds it, and it holds its place: its memory would wait for the collector.
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
