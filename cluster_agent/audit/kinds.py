"""The kinds of records, each in its own chains, so that frequent records never push out rare ones.

| kind | records | kept |
|---|---|---|
| administration | claim, registrations, revocations, phases of the root, chains from above | by age alone |
| secrets | made and forgotten, entitlements: a tenant causes as many as it makes service accounts | by
age and number |
| issuing | blessings, the certificates that sign them, Pods that are gone | by age and number |
| jwt-svids | JWT-SVIDs: a replica gets one for each audience, again and again | by age and number |
| revocations | secrets that keepers forgot with valid certificates: only many Pods cause many | by age and
number |
| tripwires | refusals of callers with a bootstrap credential | by age and number |
| control-plane | refusals of callers with a certificate of the control plane | by age and number |
| refusals | refusals of all other callers, which any client can cause | by age and number |

A chain's name begins with its kind. The hashes of its records cover the name, so an attacker cannot present a
chain as one of a kind that is kept for a shorter time.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from cluster_agent.audit.records import Record


class Kind(StrEnum):
    """The kind of a record, and of the chains that contain it."""

    ADMINISTRATION = "administration"
    SECRETS = "secrets"
    ISSUING = "issuing"
    JWT_SVIDS = "jwt-svids"
    REVOCATIONS = "revocations"
    TRIPWIRES = "tripwires"
    CONTROL_PLANE = "control-plane"
    REFUSALS = "refusals"


_FORGOTTEN = "secret-forgotten"
_OF_ACT = {
    "secret-made": Kind.SECRETS,
    "entitlement-made": Kind.SECRETS,
    _FORGOTTEN: Kind.SECRETS,
    "blessing-issued": Kind.ISSUING,
    "issuer-renewed": Kind.ISSUING,
    "pod-gone": Kind.ISSUING,
    "jwt-svid-issued": Kind.JWT_SVIDS,
}
_REFUSED = "refused"
_KINDS_OF_REFUSED = {"vanadium-bootstrap": Kind.TRIPWIRES, "vanadium-control-plane": Kind.CONTROL_PLANE}


def kind_of(record: Record) -> Kind:
    """The kind of a record. An act that is not listed as frequent is one of administration."""
    if record.act == _REFUSED:
        return refusal_kind(record.caller)
    if record.act == _FORGOTTEN and record.details.get("certificates"):
        return Kind.REVOCATIONS
    return _OF_ACT.get(record.act, Kind.ADMINISTRATION)


def refusal_kind(caller: str) -> Kind:
    """The kind for a refusal of a caller with that proven name."""
    return _KINDS_OF_REFUSED.get(caller.partition(":")[0], Kind.REFUSALS)


def new_chain(kind: Kind) -> str:
    """A new chain name, different from every other."""
    return f"{kind}.{secrets.token_hex(8)}"


def kind_of_chain(name: str) -> Kind:
    """The kind of a chain. For a name that is not ours, it is the kind that is kept longest."""
    kind = name.partition(".")[0]
    return Kind(kind) if kind in Kind.__members__.values() else Kind.ADMINISTRATION


# What a retention can be set to.
MOST_DAYS = 36_500
MOST_RECORDS = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """Records of a kind are removed when they are older than `age`, and the oldest beyond `most`."""

    age: timedelta
    most: int | None


@dataclass(frozen=True)
class Retention:
    """How long records are kept.

    Records of issuing, JWT-SVIDs and refusals are kept for `days`, the others for `administration_days`. At
    most `issuing` records of issuing are kept, and at most `others` of each other kind but administration.
    """

    days: int = 30
    administration_days: int = 400
    issuing: int = 1_000_000
    others: int = 50_000

    def limit(self, kind: Kind) -> Limit:
        frequent = (Kind.ISSUING, Kind.JWT_SVIDS, Kind.REFUSALS)
        days = self.days if kind in frequent else self.administration_days
        most = {Kind.ADMINISTRATION: None, Kind.ISSUING: self.issuing}.get(kind, self.others)
        return Limit(timedelta(days=days), most)
