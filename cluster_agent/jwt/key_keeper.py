"""The keeper of the JWT keys: their state in the store, which every replica of the agent follows, and the
steps of the one that leads. It is also their publication."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from blessings import Name, Principal
from blessings.jwt.keys import key_id_of, numbers_of
from cluster_agent.audit import Record
from cluster_agent.errors import Unavailable
from cluster_agent.jwt.rotation import JwtKeyState, JwtKeySuccession, JwtSchedule, changes
from cluster_agent.jwt.sealing import seal, unseal
from cluster_agent.roots.rotation import Phase
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store.documents import Document

KIND = "jwt-keys"
_TRIES = 5
_STATES = SignedStates("JWT keys", JwtKeySuccession.from_json)
_log = structlog.get_logger("cluster_agent")


@dataclass
class JwtKeyKeeper:
    """Keeps the JWT keys. `issuing` seals them, and signs their state."""

    records: Document
    issuing: Principal
    schedule: JwtSchedule
    now: Callable[[], datetime]
    kind: str = KIND
    _state: JwtKeySuccession | None = field(default=None, init=False)
    _active: tuple[str, Principal] | None = field(default=None, init=False)
    _read_at: datetime | None = field(default=None, init=False)

    @property
    def state(self) -> JwtKeySuccession:
        """The state as last read. Call `start` first. Raises Unavailable when that was too long ago: a token
        by an older state might be refused, and an older key set might lack a key."""
        if self._state is None or self._read_at is None:
            raise RuntimeError("the JWT keys are kept from `start` on")
        if self.now() > self._read_at + self.schedule.view:
            raise Unavailable("JwtKeysNotRead", "the JWT keys were last read too long ago; try again")
        return self._state

    @property
    def signing_key(self) -> Principal:
        """The active key. Raises Unavailable, StoreError."""
        active = self.state.active
        if self._active is None or self._active[0] != active.key_id:
            self._active = (active.key_id, unseal(active.sealed, active.key_id, self.issuing))
        return self._active[1]

    @property
    def active_since(self) -> datetime:
        """Since when the current key signs."""
        return self.now() if self._state is None else self._state.active.since

    @property
    def version(self) -> int:
        return 0 if self._state is None else self._state.version

    @property
    def required(self) -> int:
        return 0 if self._state is None else self._state.required

    def after(self, _version: int, _applications: Collection[str] = ()) -> object:
        """All keys that verify, because they are few. Raises Unavailable."""
        return {"keys": self.state.jwks()}

    async def start(self) -> None:
        """Reads the state in the store, or begins one. Raises Unavailable, StoreError."""
        if await self.records.read() is None:
            begun = self.now()
            first = JwtKeySuccession.begin(self._new_key(begun))
            record = Record("jwt-keys-changed", begun, details=changes(None, first))
            await self.records.begin(_STATES.signed(first, self.issuing), record)
        await self.look()

    async def look(self) -> None:
        """Follows the state in the store. Raises Unavailable, StoreError."""
        read_at = self.now()
        self._take_up(_STATES.opened(await self.records.read(), self.issuing), read_at)

    async def lead(self) -> None:
        """Takes the step that is due, if one is. Only the leader calls it. Raises Unavailable."""
        state, now = self.state, self.now()
        if state.needs_successor(now, self.schedule):
            await self._change(state, state.prepare(self._new_key(now)))
        else:
            await self._change(state, state.advance(now, self.schedule))

    async def rotate(self, *, at_once: bool, by: Name) -> None:
        """By command of `by`: prepares the next key; or, `at_once`, leaves nothing but a new one, for keys
        that have leaked. Raises Refusal."""
        for _ in range(_TRIES):
            await self.look()
            state, new = self.state, self._new_key(self.now())
            following = state.replace_all(new) if at_once else state.prepare(new)
            if await self._change(state, following, by=str(by), at_once=at_once):
                return
        raise Unavailable("JwtKeysBusy", "others change the JWT keys at the same time; try again")

    async def describe(self) -> dict[str, Any]:
        """For administrators: every key, its phase, and when that ends. Raises Unavailable."""
        await self.look()
        return {"version": self.state.version, "keys": [self._describe(one) for one in self.state.keys]}

    def _describe(self, key: JwtKeyState) -> dict[str, Any]:
        described: dict[str, Any] = {
            "key": key.key_id,
            "phase": key.phase,
            "since": key.since.isoformat(timespec="seconds"),
        }
        if key.phase is not Phase.ACTIVE:
            ends = self.state.settled(key, self.schedule).isoformat(timespec="seconds")
            described["activeAt" if key.phase is Phase.PREPARED else "goneAt"] = ends
        return described

    def _new_key(self, now: datetime) -> JwtKeyState:
        key = Principal.create()
        key_id = key_id_of(key.public_key)
        sealed = seal(key, key_id, self.issuing)
        return JwtKeyState(key_id, numbers_of(key.public_key), sealed, Phase.PREPARED, now, 0)

    async def _change(
        self, seen: JwtKeySuccession, state: JwtKeySuccession, *, by: str = "", at_once: bool = False
    ) -> bool:
        """Records `state` and follows it; returns False when the stored state was no longer `seen`. Without
        `by` it is a step of the agent itself."""
        if state == seen:
            return True
        read_at = self.now()
        record = Record("jwt-keys-changed", read_at, by, {**changes(seen, state), "atOnce": at_once})
        if not await self.records.replace(seen.version, _STATES.signed(state, self.issuing), record):
            return False
        self._take_up(state, read_at)
        return True

    def _take_up(self, state: JwtKeySuccession, read_at: datetime) -> None:
        before = self._state
        if before is not None and state.version < before.version:
            # An old state has a valid signature. Ours stays, and expires after a while.
            _log.error("older JWT keys not taken up", version=state.version, known=before.version)
            return
        self._state, self._read_at = state, read_at
        if before is not None and before.version != state.version:
            for key, phases in changes(before, state)["keys"].items():
                _log.info("JWT key " + (phases[1] or "gone"), key=key, version=state.version)
