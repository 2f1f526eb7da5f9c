"""The rotation of the keys that sign JWT-SVIDs, as functions of time. The phases are those of the roots.

prepared ── in every key set, signs nothing ──► after `publishing`: active, and the previous one
retiring ── signs nothing, still verifies ──► when the last token by it has expired: gone

Time alone decides: of the verifiers, cloud providers acknowledge nothing. A pod agent has a key set that is
older than `publishing` only when it has no valid blessing left either, because it gets both from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from blessings.jwt.keys import JWT_SVID, JwtKey
from cluster_agent.errors import Conflict
from cluster_agent.roots.rotation import Phase

# No token lives longer, whatever the setting was when it was signed.
LONGEST_TTL = timedelta(hours=1)
# Verifiers keep them all in memory; a rotation waits until one of them is gone.
MOST_KEYS = 8


@dataclass(frozen=True)
class JwtKeyState:
    """A key: its identifier, the public half as a JWK, the private half sealed, its phase and when that
    began, and the first version of the key set that contains it."""

    key_id: str
    jwk: Mapping[str, str]
    sealed: str
    phase: Phase
    since: datetime
    version: int


@dataclass(frozen=True)
class JwtSchedule:
    """The times of the steps. `every` is how long a key signs before its successor is prepared, None for by
    command only; `publishing`, how long a key is in every key set before it signs; `margin` stands for views
    of the store, and clocks."""

    every: timedelta | None
    publishing: timedelta
    margin: timedelta

    @property
    def view(self) -> timedelta:
        """How old the state may be by which a token is signed."""
        return self.margin / 2


@dataclass(frozen=True)
class JwtKeySuccession:
    """The keys, of which exactly one is active and at most one prepared. `version` counts each change."""

    version: int
    keys: tuple[JwtKeyState, ...]

    @classmethod
    def begin(cls, key: JwtKeyState) -> JwtKeySuccession:
        """The first state. Its key signs at once, because nobody has an older key set."""
        return cls(1, (replace(key, phase=Phase.ACTIVE, version=1),))

    @property
    def active(self) -> JwtKeyState:
        (one,) = (one for one in self.keys if one.phase is Phase.ACTIVE)
        return one

    @property
    def prepared(self) -> JwtKeyState | None:
        return next((one for one in self.keys if one.phase is Phase.PREPARED), None)

    @property
    def required(self) -> int:
        """The first version with every key by which a valid token may be signed."""
        return max(one.version for one in self.keys)

    def jwks(self, use: str = JWT_SVID) -> list[dict[str, str]]:
        """Every key that verifies, as JWKs for that use."""
        return [{"use": use, "kid": one.key_id, "alg": "ES256", **one.jwk} for one in self.keys]

    def prepare(self, key: JwtKeyState) -> JwtKeySuccession:
        """Adds a successor to the key set. Raises Conflict while there is one, or there are too many keys."""
        if self.prepared is not None:
            raise Conflict("AlreadyPrepared", f"the JWT key {self.prepared.key_id} is prepared already")
        if len(self.keys) >= MOST_KEYS:
            raise Conflict("TooManyJwtKeys", f"there are {MOST_KEYS} JWT keys; wait until one is gone")
        version = self.version + 1
        return JwtKeySuccession(version, (*self.keys, replace(key, phase=Phase.PREPARED, version=version)))

    def replace_all(self, key: JwtKeyState) -> JwtKeySuccession:
        """The new key alone: no token by another one is valid any longer."""
        version = self.version + 1
        return JwtKeySuccession(version, (replace(key, phase=Phase.ACTIVE, version=version),))

    def needs_successor(self, now: datetime, schedule: JwtSchedule) -> bool:
        if self.prepared is not None or schedule.every is None or len(self.keys) >= MOST_KEYS:
            return False
        return now >= self.active.since + schedule.every

    def settled(self, key: JwtKeyState, schedule: JwtSchedule) -> datetime:
        """When the phase of a prepared or retiring key ends."""
        lasts = schedule.publishing if key.phase is Phase.PREPARED else LONGEST_TTL
        return key.since + lasts + schedule.margin

    def advance(self, now: datetime, schedule: JwtSchedule) -> JwtKeySuccession:
        """This state, or the next one when a step is due; takes one step at a time."""
        if any(one.since > now + schedule.margin for one in self.keys):  # a clock was ahead
            return self._changed(replace(one, since=min(one.since, now)) for one in self.keys)
        prepared = self.prepared
        if prepared is not None and now >= self.settled(prepared, schedule):
            return self._changed(self._after_activation(one, now) for one in self.keys)
        for key in self.keys:
            if key.phase is Phase.RETIRING and now >= self.settled(key, schedule):
                return self._changed(one for one in self.keys if one is not key)
        return self

    def _after_activation(self, key: JwtKeyState, now: datetime) -> JwtKeyState:
        if key.phase is Phase.RETIRING:
            return key
        phase = Phase.ACTIVE if key.phase is Phase.PREPARED else Phase.RETIRING
        return replace(key, phase=phase, since=now)

    def _changed(self, keys: Any) -> JwtKeySuccession:
        return JwtKeySuccession(self.version + 1, tuple(keys))

    def to_json(self) -> str:
        """The document for the store."""
        return json.dumps({"keys": [{**asdict(one), "since": one.since.timestamp()} for one in self.keys]})

    @classmethod
    def from_json(cls, version: int, document: str) -> JwtKeySuccession:
        """The inverse of `to_json`. Raises KeyError, TypeError, ValueError (InvalidKey is one)."""
        keys = []
        for one in json.loads(document)["keys"]:
            phase, since = Phase(one["phase"]), datetime.fromtimestamp(one["since"], UTC)
            key = JwtKeyState(**{**one, "phase": phase, "since": since})
            JwtKey.of({"kid": key.key_id, **key.jwk})
            keys.append(key)
        state = cls(version, tuple(keys))
        state.active  # noqa: B018 - raises ValueError without exactly one
        return state


def changes(before: JwtKeySuccession | None, state: JwtKeySuccession) -> dict[str, Any]:
    """For the audit: `{"keys": {key: [phase before, phase now]}}`, None where there was or is none."""
    was, is_now = (
        {one.key_id: one.phase.value for one in each.keys} if each else {} for each in (before, state)
    )
    changed = {
        key: [was.get(key), is_now.get(key)] for key in {**was, **is_now} if was.get(key) != is_now.get(key)
    }
    return {"version": state.version, "keys": changed}
