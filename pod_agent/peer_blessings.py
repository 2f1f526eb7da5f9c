"""The blessings that other principals granted to this Pod's key, each to be shown to peers of a pattern; with
discharges for their third-party caveats. All of the agent protocol.

They are in memory, and end with the key that they were granted to: after a renewal the application asks for
them anew. Discharges are fetched by the application, never by the pod agent: a caveat's author chooses the
address, so a sidecar that called it would call for everybody whose chain it is shown. Each answer states
which are missing, where to ask, and what to send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from blessings import Blessing, BlessingsError, BlessingStore, Discharge, Discharges, Name, Pattern
from blessings.caveats.discharges import encode_request, undischarged
from blessings.encoding.canonical import parse_any
from blessings.encoding.fields import Fields
from blessings.keys import encoded
from pod_agent.errors import HttpError
from pod_agent.http.exchange import MOST_BODY_BYTES, Answer, Handler, Request, as_json
from pod_agent.identity import Identity

_T = TypeVar("_T")
MOST_GRANTED = 16
# In the form of the protocol: each answer may contain all of them.
MOST_GRANTED_BYTES = 64 * 1024


@dataclass(frozen=True)
class Granted:
    """A blessing of the Pod's key with its discharges."""

    blessing: Blessing
    discharges: Discharges

    @classmethod
    def parse(cls, body: bytes) -> Granted:
        """Raises BlessingsError."""
        value = parse_any(body, MOST_BODY_BYTES)
        if isinstance(value, dict):
            value = {"discharges": [], **value}
        fields = Fields(value, "the body", ("chain", "discharges"))
        discharges = tuple(Discharge.from_json(one) for one in fields.list("discharges"))
        return cls(Blessing.from_pem(fields.text("chain")), Discharges(discharges))

    def described(self, now: datetime) -> dict[str, Any]:
        caveats = [
            caveat
            for place in range(len(self.blessing.certificates))
            for caveat in self.blessing.facts(place).caveats
        ]
        missing = undischarged(caveats, self.discharges, now)
        return {
            "chain": self.blessing.to_pem(),
            "discharges": [one.to_json() for one in self.discharges.entries],
            "missing": [
                {"location": one.location, "request": json.loads(encode_request(one))} for one in missing
            ],
        }


class PeerBlessings:
    """Those of the current identity. `identity` raises HttpError when there is none."""

    def __init__(self, identity: Callable[[], Identity], now: Callable[[], datetime]) -> None:
        self._identity = identity
        self._now = now
        self._version = 0
        self._granted: dict[Pattern, Granted] = {}

    def routes(self) -> Mapping[str, Handler]:
        return {
            "GET /v1/blessings": self.all,
            "GET /v1/blessings/*": self.chosen,
            "PUT /v1/blessings/*": self.put,
            "DELETE /v1/blessings/*": self.remove,
        }

    async def all(self, _request: Request) -> Answer:
        identity, granted = self._current()
        listed = [{"pattern": str(one), **granted[one].described(self._now())} for one in granted]
        own = identity.blessing.to_pem()
        return as_json({"version": identity.version, "default": own, "forPeers": listed})

    async def chosen(self, request: Request) -> Answer:
        """What is to be shown to a peer of that name: the blessing of the narrowest pattern, else the own."""
        identity, granted = self._current()
        peer = _parsed(Name.parse, request.rest)
        store = BlessingStore(identity.blessing, tuple((one, granted[one].blessing) for one in granted))
        blessing = store.choose([peer])
        own = Granted(identity.blessing, Discharges())
        found = next((one for one in granted.values() if one.blessing is blessing), own)
        return as_json({"version": identity.version, **found.described(self._now())})

    async def put(self, request: Request) -> Answer:
        pattern, body = _parsed(Pattern.parse, request.rest), await request.body()
        # What follows does not wait, so that the key is that of the identity that it is kept for.
        identity, granted = self._current()
        now = self._now()
        try:
            given = Granted.parse(body)
            _check(given.blessing, identity, now)
            described = given.described(now)
        except BlessingsError as error:
            raise HttpError(400, "MalformedRequest", str(error)) from error
        others = [one for known, one in granted.items() if known != pattern]
        size = sum(len(one.blessing.to_pem()) + _size(one.discharges.entries) for one in [*others, given])
        if len(others) >= MOST_GRANTED or size > MOST_GRANTED_BYTES:
            room = f"{MOST_GRANTED} patterns and {MOST_GRANTED_BYTES} bytes"
            raise HttpError(409, "TooManyBlessings", f"there is room for {room}; remove others")
        granted[pattern] = given
        return as_json({"version": identity.version, **described})

    async def remove(self, request: Request) -> Answer:
        identity, granted = self._current()
        pattern = _parsed(Pattern.parse, request.rest)
        if granted.pop(pattern, None) is None:
            raise HttpError(404, "NoSuchPattern", f"no blessing is kept for {pattern}")
        return as_json({"version": identity.version})

    def _current(self) -> tuple[Identity, dict[Pattern, Granted]]:
        """The identity, and what was granted to its key."""
        identity = self._identity()
        if identity.version != self._version:
            self._version, self._granted = identity.version, {}
        return identity, self._granted


def _check(blessing: Blessing, identity: Identity, now: datetime) -> None:
    """Raises HttpError for a blessing that nobody would accept from this Pod, BlessingsError for one that
    cannot be read. Whether its root is recognised, and its caveats hold, is for the peer to judge."""
    if encoded(blessing.public_key) != encoded(identity.principal.public_key):
        raise HttpError(409, "OtherKey", "the blessing is for another key than the Pod has now")
    if not blessing.not_before <= now < blessing.not_after:
        raise HttpError(400, "NotValidNow", "a certificate of the chain is not valid now")


def _parsed(parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except BlessingsError as error:
        raise HttpError(400, "MalformedRequest", str(error)) from error


def _size(discharges: Sequence[Discharge]) -> int:
    return sum(len(one.encode()) for one in discharges)
