"""The kinds of records, each in its own chains, so that frequent records never push out rare ones.

| kind | records | kept |
|---|---|---|
| administration | claim, registrations, revocations, phases of the root, chains from above | by age alone |
| secrets | made and forgotten: a tenant causes as many as it makes service accounts | by age and number |
| issuing | blessings and entitlements to them, the certificates that sign, Pods that are gone | by age and
number |
| jwt-svids | JWT-SVIDs: a replica gets one for each audience, again and again | by age and number |
| revocations | secrets that keepers forgot with valid certificates: only many Pods cause many | by age and
number |
| tripwires | refusals of callers with a bootstrap credential | by age and number |
| control-plane | refusals of callers with a certificate of the control plane | by age and number |
| refusals | refusals of all other callers, which any client can cause | by age and number |

The records of JWT-SVIDs are in PARTS parts, by a keyed hash of the replica's namespace, each part in chains
of its own. A full kind loses the oldest records of its largest part, so a namespace with very many shortens
how far back its own part reaches, and no other.

A chain's name begins with its kind, and its part where the kind has some. The hashes of its records cover the
name, so an attacker cannot present a chain as one of a kind that is kept for a shorter time.
"""

from __future__ import annotations

import hashlib
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
    _FORGOTTEN: Kind.SECRETS,
    "blessing-issued": Kind.ISSUING,
    "entitlement-made": Kind.ISSUING,  # with the first blessing of each application with volumes
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


PARTS = 16
_PARTS_OF_JWT_SVIDS = tuple(f"{Kind.JWT_SVIDS}.{number}" for number in range(PARTS))
EVERY_PART = (*Kind.__members__.values(), *_PARTS_OF_JWT_SVIDS)
"""The parts of all kinds. A kind as a whole is one, too; most have no other."""


def part_of(record: Record, key: bytes) -> str:
    """The part of its kind to which a record belongs. Without `key`, of up to 64 bytes, a tenant could choose
    namespaces of the same part as another's."""
    kind = kind_of(record)
    if kind is not Kind.JWT_SVIDS:
        return kind
    namespace = str(record.details.get("namespace", ""))
    hashed = hashlib.blake2b(namespace.encode(), key=key, digest_size=8).digest()
    return _PARTS_OF_JWT_SVIDS[int.from_bytes(hashed) % PARTS]


def new_chain(part: str) -> str:
    """A new chain name, different from every other."""
    return f"{part}.{secrets.token_hex(8)}"


def part_of_chain(name: str) -> str:
    """The part of a chain; its kind where that has none of this name."""
    part = name.rpartition(".")[0]
    return part if part in EVERY_PART else kind_of_chain(name)


def kind_of_chain(name: str) -> Kind:
    """The kind of a chain. For a name that is not ours, it is the kind that is kept longest."""
    kind = name.partition(".")[0]
    return Kind(kind) if kind in Kind.__members__.values() else Kind.ADMINISTRATION


# What a retention can be set to.
MOST_DAYS = 36_500
MOST_RECORDS = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """Records of a kind are removed when they are older than `age`, and beyond `most` the oldest of the
    largest of its `parts`, each of which so keeps its share."""

    age: timedelta
    most: int | None
    parts: int = 1

    @property
    def share(self) -> int | None:
        return None if self.most is None else self.most // self.parts


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
        return Limit(timedelta(days=days), most, 1 + PARTS if kind is Kind.JWT_SVIDS else 1)
