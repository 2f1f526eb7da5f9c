"""The kinds of records, each in chains of its own, so that what there is much of never pushes out the rest.

| kind | records | kept |
|---|---|---|
| administration | claim, registrations, revocations, phases of the root, chains from above | by age alone |
| secrets | made and forgotten: a tenant makes as many as it makes service accounts | by age and number |
| issuing | blessings, the certificates that sign them, Pods that are gone | by age and number |
| revocations | secrets that keepers forgot with valid certificates: only Pods make many | by age and number |
| tripwires | refusals of who came with a bootstrap credential | by age and number |
| control-plane | refusals of who came with a certificate of the control plane | by age and number |
| refusals | of everybody else, whom anybody may cause | by age and number |
| upkeep | what the audit does itself | by age alone |

A chain's name begins with its kind. Its records' hashes and its signed head cover the name, so a chain cannot
be passed off as one of a kind that is kept shorter.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cluster_agent.audit.records import Record


class Kind(StrEnum):
    """Of records, and of the chains that they are in. BEFORE is of chains from when there was one for all."""

    ADMINISTRATION = "administration"
    SECRETS = "secrets"
    ISSUING = "issuing"
    REVOCATIONS = "revocations"
    TRIPWIRES = "tripwires"
    CONTROL_PLANE = "control-plane"
    REFUSALS = "refusals"
    UPKEEP = "upkeep"
    BEFORE = "before"


_FORGOTTEN = "secret-forgotten"
_OF_ACT = {
    "secret-made": Kind.SECRETS,
    _FORGOTTEN: Kind.SECRETS,
    "blessing-issued": Kind.ISSUING,
    "issuer-renewed": Kind.ISSUING,
    "pod-gone": Kind.ISSUING,
    "audit-witnessed": Kind.UPKEEP,
    "audit-pruned": Kind.UPKEEP,
}
_REFUSED = "refused"
_KINDS_OF_REFUSED = {"vanadium-bootstrap": Kind.TRIPWIRES, "vanadium-control-plane": Kind.CONTROL_PLANE}
_LONG = (Kind.SECRETS, Kind.REVOCATIONS, Kind.TRIPWIRES, Kind.CONTROL_PLANE)


def kind_of(record: Record) -> Kind:
    """Where the record belongs. What is not said to be frequent is an act of an administrator."""
    if record.act == _REFUSED:
        return refusal_kind(record.caller)
    if record.act == _FORGOTTEN and record.details.get("certificates"):
        return Kind.REVOCATIONS
    return _OF_ACT.get(record.act, Kind.ADMINISTRATION)


def refusal_kind(caller: str) -> Kind:
    """Where a refusal of who has that proven name belongs."""
    return _KINDS_OF_REFUSED.get(caller.partition(":")[0], Kind.REFUSALS)


def new_chain(kind: Kind) -> str:
    """A name that no other chain has."""
    return f"{kind}.{secrets.token_hex(8)}"


def kind_of_chain(name: str) -> Kind:
    kind, dot, _ = name.partition(".")
    return Kind(kind) if dot and kind in Kind.__members__.values() else Kind.BEFORE


@dataclass(frozen=True)
class Rule:
    """What is removed from the chains of `kinds` together: what is older than `oldest`, and the oldest beyond
    `most`. None removes nothing."""

    kinds: frozenset[Kind]
    oldest: datetime | None
    most: int | None

    @classmethod
    def of(cls, kinds: Iterable[Kind], oldest: datetime | None, most: int | None = None) -> Rule:
        return cls(frozenset(kinds), oldest, most)


@dataclass(frozen=True)
class Retention:
    """How long records stay: those of issuing, refusals and upkeep for `days`, the others for
    `administration_days`; of the issuing ones at most `issuing`, of each other kind but administration and
    upkeep `others`."""

    days: int
    administration_days: int
    issuing: int
    others: int

    def rules(self, now: datetime) -> list[Rule]:
        recent, long = now - timedelta(days=self.days), now - timedelta(days=self.administration_days)
        # By whole days, because what upkeep vouched for is vouched for anew when some of it is removed. Not
        # by number: every replica writes some, and no caller has it write more.
        upkeep = recent.replace(hour=0, minute=0, second=0, microsecond=0)
        return [
            Rule.of([Kind.ADMINISTRATION, Kind.BEFORE], long),
            *(Rule.of([kind], long, self.others) for kind in _LONG),
            Rule.of([Kind.REFUSALS], recent, self.others),
            Rule.of([Kind.ISSUING], recent),
            # The chains of before hold as many blessings, and their disk space was counted so.
            Rule.of([Kind.ISSUING, Kind.BEFORE], None, self.issuing),
            Rule.of([Kind.UPKEEP], upkeep),
        ]
