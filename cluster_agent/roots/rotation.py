"""The rotation of the identity root, as functions of time and of what replicas have acknowledged.

prepared ── in every bundle, signs nothing ──► when every live replica has it: active, and the previous one
retiring ── signs nothing, is still recognised ──► when the last certificate under it has ended: gone

Why verification never breaks in between: a replica of the agent signs by a view of this state that is at most
`view` old, and every answer contains the bundle of that view. So when `view` and the longest TTL have passed
since a root was prepared (plus the difference of the clocks), every certificate that has not ended came with
a bundle that contains the root. When the same time has passed since a root stopped signing, no certificate
under it is left. Replicas that acknowledge the root earlier make the first wait shorter. `margin` stands for
the view, the clocks, and a slow commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography import x509

from blessings import Roots, fingerprint
from blessings.encoding.chains import parse_pem_chain, to_pem
from blessings.profile.fields import public_key_of
from cluster_agent.errors import BadRequest
from cluster_agent.signing.issuer_life import Life


class Phase(StrEnum):
    """The phase of a root. Exactly one root is active, and at most one is prepared."""

    PREPARED = "prepared"
    ACTIVE = "active"
    RETIRING = "retiring"


@dataclass(frozen=True)
class RootState:
    """A root, its phase and when that began, and the first version of the bundle that contains the root.

    `announced`: the version was incremented once more after the last moment at which any agent could answer
    with an older bundle. A replica with that version keeps the root, whichever agent it asks next.
    """

    certificate: x509.Certificate
    phase: Phase
    since: datetime
    version: int
    announced: bool = False

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its key."""
        return fingerprint(public_key_of(self.certificate))

    @property
    def life(self) -> Life:
        return Life(self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc)


@dataclass(frozen=True)
class Schedule:
    """The times of the steps.

    `every` is how long a root signs before its successor is prepared; None means by command only. `share` of
    the live replicas, 0 to 1, must have a prepared root before it signs.
    """

    every: timedelta | None
    share: float
    longest_ttl: timedelta
    margin: timedelta

    @property
    def view(self) -> timedelta:
        """How old the state may be by which a certificate is signed."""
        return self.margin / 2


# Returns the share of live replicas that have the bundle of a version; None when it was not counted.
Reached = Callable[[int], float | None]


@dataclass(frozen=True)
class RootSuccession:
    """The recognised roots. `version` counts each change; `gone` are the keys of former roots.

    `longest_ttl` is the longest TTL that any replica of the agent was ever allowed. It never shrinks, because
    older certificates may still be valid.
    """

    version: int
    roots: tuple[RootState, ...]
    gone: tuple[str, ...]
    longest_ttl: timedelta

    @classmethod
    def begin(cls, certificate: x509.Certificate, now: datetime, longest_ttl: timedelta) -> RootSuccession:
        """A state with one root, which signs."""
        return cls(1, (RootState(certificate, Phase.ACTIVE, now, 1),), (), longest_ttl)

    @property
    def active(self) -> RootState:
        (one,) = self._in(Phase.ACTIVE)
        return one

    @property
    def prepared(self) -> RootState | None:
        return next(iter(self._in(Phase.PREPARED)), None)

    @property
    def bundle(self) -> Roots:
        """Every root to recognise now."""
        return Roots.of(*(one.certificate for one in self.roots))

    @property
    def required(self) -> int:
        """The first version whose bundle contains every root that may sign."""
        return max(one.version for one in self.roots)

    def settled(self, since: datetime, schedule: Schedule) -> datetime:
        """When the last certificate from before `since` has ended."""
        return since + self.longest_ttl + schedule.margin

    def prepare(self, certificate: x509.Certificate, now: datetime) -> RootSuccession:
        """Adds a successor to the bundle. Raises BadRequest when there is one, or `certificate` cannot be
        one."""
        new = RootState(certificate, Phase.PREPARED, now, self.version + 1)
        if self.prepared is not None:
            raise BadRequest(
                "AlreadyPrepared",
                f"the root {self.prepared.fingerprint} is prepared; activate or withdraw it",
            )
        if new.fingerprint in (*self.gone, *(one.fingerprint for one in self.roots)):
            raise BadRequest("RootKnown", f"the key {new.fingerprint} is a root already, or was one")
        _require_valid(new, now)
        return self._changed((*self.roots, new))

    def activate(
        self, key: str, now: datetime, schedule: Schedule, reached: Reached, *, force: bool = False
    ) -> RootSuccession:
        """Makes the root with that key the one that signs; the previous one retires.

        Raises BadRequest while valid replicas may lack the root, unless it is forced. A retiring root may be
        activated again at any time, because every replica still has it.
        """
        root = self._find(key)
        if root.phase is Phase.ACTIVE:
            raise BadRequest("RootActive", f"the root {key} is active already")
        _require_valid(root, now)
        if root.phase is Phase.PREPARED and not force and not self._is_known(root, now, schedule, reached):
            share = reached(root.version)
            counted = "nobody has counted them yet" if share is None else f"{share:.0%} of them have it"
            raise BadRequest(
                "RootNotDistributed",
                f"not every live replica has the root {key}: {counted}; "
                f"{self.settled(root.since, schedule).isoformat()} is when they must, or force it",
            )
        return self._changed(
            tuple(
                replace(one, phase=Phase.ACTIVE, since=now)
                if one is root
                else replace(one, phase=Phase.RETIRING, since=now)
                if one.phase is Phase.ACTIVE
                else one
                for one in self.roots
            )
        )

    def withdraw(self, key: str, now: datetime, schedule: Schedule, *, force: bool = False) -> RootSuccession:
        """Removes a prepared root, under which nothing was signed, or a retiring one.

        Raises BadRequest for the active root, and while certificates under the root may be valid, unless it
        is forced: every peer then refuses a replica with such a certificate.
        """
        root = self._find(key)
        if root.phase is Phase.ACTIVE:
            raise BadRequest("RootActive", f"the root {key} is active; activate another one first")
        if root.phase is Phase.RETIRING and not force and now < self.settled(root.since, schedule):
            raise BadRequest(
                "RootInUse",
                f"certificates under the root {key} may be valid until "
                f"{self.settled(root.since, schedule).isoformat()}; wait, or force it",
            )
        kept = tuple(one for one in self.roots if one is not root)
        return replace(self._changed(kept), gone=(*self.gone, key))

    def needs_successor(self, now: datetime, schedule: Schedule) -> bool:
        """Whether a new root should be prepared: at the set interval, and in the last third of its life."""
        if self.prepared is not None or schedule.every is None:
            return False
        active = self.active
        return now >= active.since + schedule.every or active.life.left(now) < active.life.length / 3

    def advance(
        self, now: datetime, schedule: Schedule, reached: Reached, *, can_sign: bool = True
    ) -> RootSuccession:
        """This state, or the next one when a step is due; takes one step at a time. `can_sign` states whether
        the key for the prepared root is here; without it, activation would stop all signing."""
        if schedule.longest_ttl > self.longest_ttl:
            return replace(self, version=self.version + 1, longest_ttl=schedule.longest_ttl)
        if (prepared := self.prepared) and not prepared.announced and now >= prepared.since + schedule.margin:
            announced = replace(prepared, announced=True, version=self.version + 1)
            return self._changed(tuple(announced if one is prepared else one for one in self.roots))
        if any(one.since > now + schedule.margin for one in self.roots):  # a clock was ahead
            return self._changed(tuple(replace(one, since=min(one.since, now)) for one in self.roots))
        can_sign &= prepared is not None and prepared.life.not_before <= now
        if prepared and can_sign and self._is_known(prepared, now, schedule, reached):
            return self.activate(prepared.fingerprint, now, schedule, reached)
        for one in self._in(Phase.RETIRING):
            if now >= self.settled(one.since, schedule):
                return self.withdraw(one.fingerprint, now, schedule)
        return self

    def _is_known(self, root: RootState, now: datetime, schedule: Schedule, reached: Reached) -> bool:
        if now >= self.settled(root.since, schedule):
            return True
        # Before that, a replica that has it may get a bundle without it from another agent.
        if not root.announced:
            return False
        share = reached(root.version)
        return share is not None and share >= schedule.share

    def _in(self, phase: Phase) -> list[RootState]:
        return [one for one in self.roots if one.phase is phase]

    def _find(self, key: str) -> RootState:
        for one in self.roots:
            if one.fingerprint == key:
                return one
        raise BadRequest("UnknownRoot", f"no root has the key {key!r}; GET /v1/identity-roots lists them")

    def _changed(self, roots: tuple[RootState, ...]) -> RootSuccession:
        return replace(self, version=self.version + 1, roots=roots)

    def to_json(self) -> str:
        """The document for the store."""
        return json.dumps(
            {
                "roots": [
                    {
                        "certificate": to_pem([one.certificate]),
                        "phase": one.phase,
                        "since": one.since.timestamp(),
                        "version": one.version,
                        "announced": one.announced,
                    }
                    for one in self.roots
                ],
                "gone": self.gone,
                "longestTtlSeconds": self.longest_ttl.total_seconds(),
            }
        )

    @classmethod
    def from_json(cls, version: int, document: str) -> RootSuccession:
        """The inverse of `to_json`. Raises InvalidCertificate, KeyError, ValueError."""
        value: dict[str, Any] = json.loads(document)
        roots = tuple(
            RootState(
                parse_pem_chain(one["certificate"])[0],
                Phase(one["phase"]),
                datetime.fromtimestamp(one["since"], UTC),
                one["version"],
                one["announced"],
            )
            for one in value["roots"]
        )
        longest_ttl = timedelta(seconds=value["longestTtlSeconds"])
        return cls(version, roots, tuple(value["gone"]), longest_ttl)


def _require_valid(root: RootState, now: datetime) -> None:
    begin, end = root.life.not_before, root.life.not_after
    if not begin <= now < end:
        raise BadRequest("RootNotValid", f"the root {root.fingerprint} is valid from {begin} to {end}")


def changes(before: RootSuccession | None, state: RootSuccession) -> dict[str, Any]:
    """For the audit: the change of each root, `{"roots": {key: [phase before, phase now]}}` with None where
    there was or is none, and the change of the longest TTL."""
    was, is_now = (
        {one.fingerprint: _stage(one) for one in each.roots} if each else {} for each in (before, state)
    )
    changed = {
        key: [was.get(key), is_now.get(key)] for key in {**was, **is_now} if was.get(key) != is_now.get(key)
    }
    details: dict[str, Any] = {"version": state.version, "roots": changed}
    if before is None or before.longest_ttl != state.longest_ttl:
        seconds = (None if one is None else int(one.longest_ttl.total_seconds()) for one in (before, state))
        details["longestTtlSeconds"] = list(seconds)
    return details


def _stage(root: RootState) -> str:
    return f"{root.phase}, announced" if root.phase is Phase.PREPARED and root.announced else root.phase.value
