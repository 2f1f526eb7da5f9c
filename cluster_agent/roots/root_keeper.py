"""The keeper of the identity roots.

Every replica of the agent follows their state in the store, the leader takes the steps that are due, and
administrators take steps by command.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from blessings import Authority, Blessing, Name, Roots
from cluster_agent.audit import Record
from cluster_agent.errors import BadRequest, StoreError, Unavailable
from cluster_agent.publications import ROOTS
from cluster_agent.roots.held_keys import HeldKeys, Keys
from cluster_agent.roots.keys import HeldRoot
from cluster_agent.roots.rotation import Phase, Reached, RootState, RootSuccession, Schedule, changes
from cluster_agent.signing.room import IdentityAuthority, SigningRoom
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store.documents import Document
from cluster_agent.store.fleet import Fleet, Share

KIND = ROOTS
_TRIES = 5
_STATES = SignedStates("identity roots", RootSuccession.from_json)
_log = structlog.get_logger("cluster_agent")


@dataclass
class RootKeeper:
    """Keeps the roots, and is also their publication. `trust` is called with every root that callers' chains
    may end at."""

    room: SigningRoom
    records: Document
    fleet: Fleet
    keys: Keys
    schedule: Schedule
    trust: Callable[[Roots], None]
    now: Callable[[], datetime]
    _state: RootSuccession | None = None
    kind: str = KIND

    def __post_init__(self) -> None:
        self._held = HeldKeys(self.keys)

    @property
    def state(self) -> RootSuccession:
        """The state as last read. Call `start` first."""
        if self._state is None:
            raise RuntimeError("the roots are kept from `start` on")
        return self._state

    @property
    def version(self) -> int:
        return self.state.version

    @property
    def required(self) -> int:
        return self.state.required

    def after(self, _version: int, _applications: Collection[str] = ()) -> object:
        """The whole bundle, because it is short. Raises Unavailable when the state was read too long ago."""
        self.room.check_view(self.now())
        return self.state.bundle.to_json()

    async def start(self) -> None:
        """Reads the state in the store, or begins one with the root of the signing room.

        Raises StoreError when the active root's key is not here.
        """
        begun = self.now()
        if await self.records.read() is None:
            (root,) = self.room.identity_roots
            first = RootSuccession.begin(root.certificate, begun, self.schedule.longest_ttl)
            record = Record("roots-changed", begun, details=changes(None, first))
            await self.records.begin(_STATES.signed(first, self.room.issuing), record)
        await self.look()
        if refusal := self.room.identity.refusal:
            if self.keys.needed_at_start:
                raise StoreError(refusal)
            _log.warning("nothing is signed yet", reason=refusal)

    async def look(self) -> None:
        """Follows the current state in the store. Raises Unavailable, StoreError."""
        read_at = self.now()
        await self._take_up(_STATES.opened(await self.records.read(), self.room.issuing), read_at)

    async def take_keys(self) -> None:
        """Follows the keys that can sign here now. Raises Unavailable, StoreError, DataDirectoryError."""
        await self._held.read()
        await self.look()

    async def lead(self) -> None:
        """Takes the step that is due, if one is. Only the leader calls it. Raises Unavailable, BadRequest,
        DataDirectoryError."""
        state, now = self.state, self.now()
        await self._held.delete_gone(state.gone, self.records.note, now)
        if state.prepared is None:
            wanted = state.needs_successor(now, self.schedule)
            if (new := await self._held.successor(state, now, wanted=wanted)) is not None:
                await self._change(state, state.prepare(new, now))
                return
        reached, can_sign = await self._reached(state), await self._held.can_sign(state.prepared)
        await self._change(state, state.advance(now, self.schedule, reached, can_sign=can_sign))

    async def prepare(self, *, by: Name) -> RootSuccession:
        """By command of `by`: adds a new root to every bundle. Raises Refusal, DataDirectoryError."""

        async def step(state: RootSuccession) -> RootSuccession:
            now = self.now()
            new = await self._held.successor(state, now, wanted=state.prepared is None)
            if state.prepared is None and new is None:
                raise BadRequest("NoNewRootKey", self.keys.why_no_successor)
            return state.prepare(new or self.room.identity.signing.certificate, now)

        return await self._command(step, by)

    async def activate(self, key: str, *, force: bool, by: Name) -> RootSuccession:
        """By command of `by`: makes the root the one that signs. Raises Refusal."""

        async def step(state: RootSuccession) -> RootSuccession:
            reached = await self._reached(state)
            return state.activate(key, self.now(), self.schedule, reached, force=force)

        return await self._command(step, by, force=force)

    async def withdraw(self, key: str, *, force: bool, by: Name) -> RootSuccession:
        """By command of `by`: removes the root from every bundle. Raises Refusal."""

        async def step(state: RootSuccession) -> RootSuccession:
            return state.withdraw(key, self.now(), self.schedule, force=force)

        return await self._command(step, by, force=force)

    async def describe(self) -> dict[str, Any]:
        """For administrators: every root, its phase, and what the next step waits for. Raises Unavailable."""
        await self.look()
        state, share = self.state, None
        if state.prepared is not None:
            share = await self.fleet.share(KIND, state.prepared.version, self.now(), volumes=True)
        return {
            "version": state.version,
            "longestTtlSeconds": int(state.longest_ttl.total_seconds()),
            "roots": [self._describe(one, share) for one in state.roots],
        }

    def _describe(self, root: RootState, share: Share | None) -> dict[str, Any]:
        description: dict[str, Any] = {
            "key": root.fingerprint,
            "phase": root.phase,
            "since": root.since.isoformat(timespec="seconds"),
            "notAfter": root.life.not_after.isoformat(),
        }
        if root.phase is not Phase.ACTIVE:
            settled = self.state.settled(root.since, self.schedule)
            word = "activeAtTheLatest" if root.phase is Phase.PREPARED else "goneAt"
            description[word] = settled.isoformat(timespec="seconds")
        if root.phase is Phase.PREPARED and share is not None:
            description |= {"liveReplicas": share.live, "acknowledged": share.acknowledged}
            description["shareNeeded"] = self.schedule.share
            if share.volumes:
                description["volumes"] = share.volumes
            if share.volumes_at is not None:
                description["volumesHaveItAt"] = share.volumes_at.isoformat(timespec="seconds")
        return description

    async def _reached(self, state: RootSuccession) -> Reached:
        prepared = state.prepared
        if prepared is None:
            return lambda _version: None
        share = await self.fleet.share(KIND, prepared.version, self.now(), volumes=True)
        return lambda version: share.ratio if version == prepared.version else None

    async def _command(
        self, step: Callable[[RootSuccession], Any], by: Name, *, force: bool = False
    ) -> RootSuccession:
        for _ in range(_TRIES):
            await self.look()
            state = self.state
            if await self._change(state, await step(state), by=str(by), force=force):
                return self.state
        raise Unavailable("RootsBusy", "others change the roots at the same time; try again")

    async def _change(
        self, seen: RootSuccession, state: RootSuccession, *, by: str = "", force: bool = False
    ) -> bool:
        """Records `state` and follows it; returns False when the stored state was no longer `seen`. Without
        `by` it is a step of the agent itself."""
        if state == seen:
            return True
        read_at = self.now()
        record = Record("roots-changed", read_at, by, {**changes(seen, state), "force": force})
        if not await self.records.replace(seen.version, _STATES.signed(state, self.room.issuing), record):
            return False
        await self._take_up(state, read_at)
        return True

    async def _take_up(self, state: RootSuccession, read_at: datetime) -> None:
        before = self._state
        if before is not None and state.version < before.version:
            # An old state has a valid signature, so a program with write access to the database may put it
            # back. Our newer state stays, and expires after a while, so that nothing is signed by it.
            _log.error("older identity roots not taken up", version=state.version, known=before.version)
            return
        self._state = state
        held = await self._held.of(state.active.fingerprint)
        if before is None or before.bundle != state.bundle:
            self.trust(state.bundle)
        self.room.follow(self._identity(state, held, read_at))
        if before is not None:
            _say_what_changed(before, state)

    def _identity(self, state: RootSuccession, held: HeldRoot | None, read_at: datetime) -> IdentityAuthority:
        active = state.active
        terms: dict[str, Any] = {
            "until": read_at + self.schedule.view,
            "longest_ttl": state.longest_ttl,
        }
        if held is None:
            refusal = self.keys.why_missing(active.fingerprint)
            return IdentityAuthority(self.room.identity.signing, state.bundle, refusal=refusal, **terms)
        signing = held.signing
        if signing.is_root:
            signing = Authority(signing.principal, Blessing((active.certificate,)))
        return IdentityAuthority(signing, state.bundle, **terms)


def _say_what_changed(before: RootSuccession, state: RootSuccession) -> None:
    phases = {one.fingerprint: one.phase for one in before.roots}
    now = {one.fingerprint: one.phase for one in state.roots}
    for key in {**phases, **now}:
        if phases.get(key) != now.get(key):
            _log.info("identity root " + now.get(key, "gone"), key=key, version=state.version)
