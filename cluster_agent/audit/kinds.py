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

A chain's name begins with its kind. The hashes of its records cover the name, so a chain cannot be passed off
as one of a kind that is kept shorter.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cluster_agent.audit.records import Record


class Kind(StrEnum):
    """Of records, and of the chains that they are in."""

    ADMINISTRATION = "administration"
    SECRETS = "secrets"
    ISSUING = "issuing"
    REVOCATIONS = "revocations"
    TRIPWIRES = "tripwires"
    CONTROL_PLANE = "control-plane"
    REFUSALS = "refusals"


_FORGOTTEN = "secret-forgotten"
_OF_ACT = {
    "secret-made": Kind.SECRETS,
    _FORGOTTEN: Kind.SECRETS,
    "blessing-issued": Kind.ISSUING,
    "issuer-renewed": Kind.ISSUING,
    "pod-gone": Kind.ISSUING,
}
_REFUSED = "refused"
_KINDS_OF_REFUSED = {"vanadium-bootstrap": Kind.TRIPWIRES, "vanadium-control-plane": Kind.CONTROL_PLANE}


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
    """The kind of a chain. Of a name that is not ours, the one that is kept longest."""
    kind = name.partition(".")[0]
    return Kind(kind) if kind in Kind.__members__.values() else Kind.ADMINISTRATION


@dataclass(frozen=True)
class Limit:
    """Records of a kind that are older than `age` are removed, and the oldest beyond `most`."""

    age: timedelta
    most: int | None


@dataclass(frozen=True)
class Retention:
    """How long records stay: those of issuing and refusals for `days`, the others for `administration_days`;
    of the issuing ones at most `issuing`, of each other kind but administration at most `others`."""

    days: int = 30
    administration_days: int = 400
    issuing: int = 1_000_000
    others: int = 50_000

    def limit(self, kind: Kind) -> Limit:
        days = self.days if kind in (Kind.ISSUING, Kind.REFUSALS) else self.administration_days
        most = {Kind.ADMINISTRATION: None, Kind.ISSUING: self.issuing}.get(kind, self.others)
        return Limit(timedelta(days=days), most)
