"""What callers may hold: connections and bytes, in all and by address.

Anyone in the cluster's network may connect, because API servers do not authenticate to webhooks by default.
So callers that are not known to be API servers share a small part. Where that part is full, the address that
holds most gives way to one that holds less: nobody can keep out another by holding things.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from service.addresses import network_of

Limit: TypeAlias = Literal["connections", "bytes"]


@dataclass(frozen=True)
class Most:
    """The limits: in all, and what callers share that are not known to be API servers."""

    connections: int = 1000
    others_connections: int = 250
    bytes: int = 40 * 1024 * 1024
    others_bytes: int = 10 * 1024 * 1024


@dataclass(eq=False)
class Place:
    """One connection, and the bytes that are held for it: of a request that is not complete, or an answer
    that is not read. `end` ends the connection, and then nothing is held."""

    network: str
    is_api_server: bool
    end: Callable[[], None]
    bytes: int = 0
    is_known: bool = False
    """Whether the address is known to be an API server's: `is_api_server` holds for every address where none
    is known."""


class Shares:
    """Who holds what. `is_api_server` returns whether an address is that of an API server; None when the
    addresses of the API servers are not known, and then all callers share all."""

    def __init__(
        self,
        is_api_server: Callable[[str], bool | None],
        turned_away: Callable[[Limit], None],
        most: Most | None = None,
    ) -> None:
        """`turned_away` is called for each caller that a limit costs a connection or a request."""
        self._is_api_server = is_api_server
        self._turned_away = turned_away
        self._most = most or Most()
        # Dicts, because they keep the order: oldest first.
        self._api_servers: dict[Place, None] = {}
        self._others: dict[Place, None] = {}
        self.bytes = 0

    @property
    def connections(self) -> int:
        return len(self._api_servers) + len(self._others)

    def admit(self, address: str, end: Callable[[], None]) -> Place | None:
        """A place for one more connection, until `release`; None when there is none. May end another one."""
        known = self._is_api_server(address)
        newcomer = Place(network_of(address), known is not False, end, is_known=known is True)
        crowd: dict[Place, None] | None = None
        if known is False and len(self._others) >= self._most.others_connections:
            crowd = self._others
        elif self.connections >= self._most.connections:
            crowd = self._others if known and self._others else self._of(newcomer)
        if crowd is not None:
            held = Counter(one.network for one in crowd)
            network = max(held, key=held.__getitem__)
            self._turned_away("connections")
            if held[newcomer.network] >= held[network]:
                return None
            self._end(next(one for one in crowd if one.network == network))
        self._of(newcomer)[newcomer] = None
        return newcomer

    def release(self, place: Place) -> None:
        """Gives the place back, with its bytes. A second call changes nothing."""
        self.bytes -= place.bytes
        place.bytes = 0
        place.end = _nothing  # the connection has its place: without a circle it is gone at once
        self._of(place).pop(place, None)

    def hold(self, place: Place, count: int) -> bool:
        """Notes that `count` bytes are held for the connection. False when there is no room: then none are.
        May end other connections."""
        self.bytes += count - place.bytes
        place.bytes = count
        while crowd := self._too_much(place):
            self._turned_away("bytes")
            held: Counter[str] = Counter()
            for one in crowd:
                held[one.network] += one.bytes
            network = max(held, key=held.__getitem__)
            if held[place.network] >= held[network]:
                self.bytes -= place.bytes
                place.bytes = 0
                return False
            self._end(max((one for one in crowd if one.network == network), key=lambda one: one.bytes))
        return True

    def _too_much(self, place: Place) -> list[Place] | None:
        """The connections of which one has to give way; None when there is room."""
        if not place.is_api_server and _total(self._others) > self._most.others_bytes:
            return list(self._others)
        if self.bytes <= self._most.bytes:
            return None
        others = [one for one in self._others if one.bytes]
        return others if place.is_api_server and others else list(self._of(place))

    def _of(self, place: Place) -> dict[Place, None]:
        return self._api_servers if place.is_api_server else self._others

    def _end(self, place: Place) -> None:
        end = place.end
        self.release(place)
        end()


def _nothing() -> None:
    pass


def _total(places: Iterable[Place]) -> int:
    return sum(place.bytes for place in places)
