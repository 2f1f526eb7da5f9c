"""Whether chains of records are as they were written. What comes from the database is believed in nothing but
what a signature of a trusted key covers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from blessings import InvalidKey
from cluster_agent.audit.records import BEGINNING, Head, Signed, next_hash, seconds_of

WITNESSED = "audit-witnessed"


@dataclass(frozen=True)
class Chain:
    """A chain as the database says it is. `base` is what its first record comes after."""

    head: Head
    signed: Signed
    base: Head
    base_signed: Signed


@dataclass(frozen=True)
class Stored:
    """A record as the database has it."""

    number: int
    at: int
    text: str
    hash: str


@dataclass
class Report:
    """What verifying found. `heads` are those that hold: to be compared with what was noted elsewhere."""

    problems: list[str] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    records: int = 0


def verify(
    chains: Iterable[Chain],
    records_of: Callable[[str], Iterable[Stored]],
    hash_at: Callable[[str, int], str | None],
    strays: Iterable[str],
    anchors: Iterable[tuple[Head, Signed]],
    trusted: frozenset[str],
) -> Report:
    """Looks at every record of every chain, and compares with what chains say about each other.

    `records_of` gives a chain's records in order, `hash_at` the stored hash of one of them. `strays` are the
    chains that records name. `anchors` are heads noted outside of the database. `trusted` are fingerprints
    of keys; empty trusts every key, which finds what was changed by somebody who did not sign anew.
    """
    report = Report()
    known = {one.head.chain: one for one in chains}
    claims: list[tuple[str, Head]] = []
    for chain in known.values():
        _check_signatures(chain, trusted, report)
        claims += _check_records(chain, records_of(chain.head.chain), report)
    report.problems += [
        f"chain {name}: there are records, and no head" for name in strays if name not in known
    ]
    for head, signed in anchors:
        if _holds(head, signed, "head", trusted, report, f"the head noted for chain {head.chain}"):
            claims.append(("the notes", head))
    for witness, claim in claims:
        _check_claim(witness, claim, known.get(claim.chain), hash_at, report)
    return report


def _check_signatures(chain: Chain, trusted: frozenset[str], report: Report) -> None:
    where = f"chain {chain.head.chain}"
    if _holds(chain.head, chain.signed, "head", trusted, report, f"{where}: its head"):
        report.heads.append(chain.head)
    if (chain.base.number, chain.base.hash) != BEGINNING:
        _holds(chain.base, chain.base_signed, "base", trusted, report, f"{where}: its beginning")


def _holds(head: Head, signed: Signed, role: str, trusted: frozenset[str], report: Report, what: str) -> bool:
    try:
        key = signed.fingerprint
        holds = head.is_signed(signed, role)
    except (InvalidKey, ValueError):
        key, holds = "", False
    if not holds:
        report.problems.append(f"{what} (number {head.number}) is not signed")
    elif trusted and key not in trusted:
        report.problems.append(f"{what} (number {head.number}) is signed by {key}, which is not trusted")
    else:
        report.keys.add(key)
        return True
    return False


def _check_records(chain: Chain, records: Iterable[Stored], report: Report) -> Iterator[tuple[str, Head]]:
    """Follows a chain from its base to its head; gives what its records claim about other chains."""
    name, at = chain.head.chain, chain.base
    where = f"chain {name}"
    for record in records:
        report.records += 1
        if record.number > chain.head.number:
            report.problems.append(f"{where}: record {record.number} comes after its head")
            continue
        if record.number != at.number + 1:
            report.problems.append(f"{where}: {_span(at.number + 1, record.number - 1)} missing")
            # The hash before is lost; what the record itself says lets us go on to find more.
            at = Head(name, record.number, record.hash)
            continue
        expected = next_hash(at, record.text)
        if record.hash != expected or not _is_at(record):
            report.problems.append(
                f"{where}: record {record.number} was changed, or another put in its place"
            )
        at = Head(name, record.number, record.hash)
        yield from _claims(name, record.text)
    if at.number < chain.head.number:
        report.problems.append(f"{where}: {_span(at.number + 1, chain.head.number)} missing at its end")
    elif at.hash != chain.head.hash:
        report.problems.append(f"{where}: it does not end in its head")


def _span(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _is_at(record: Stored) -> bool:
    try:
        return seconds_of(record.text) == record.at
    except (ValueError, KeyError, TypeError):
        return False


def _claims(chain: str, text: str) -> Iterator[tuple[str, Head]]:
    try:
        said = json.loads(text)
        if said["act"] == "audit-pruned":
            # An older base, signed as well, would not hide that records are missing after it.
            yield f"chain {chain}", Head(str(said["chain"]), int(said["through"]), str(said["hash"]))
    except (ValueError, KeyError, TypeError):
        pass  # it was changed, which its hash has told
    for head in vouched_for(text):
        yield f"chain {chain}", head


def vouched_for(text: str) -> list[Head]:
    """The heads that a record vouches for; none for what is no such record."""
    try:
        said = json.loads(text)
        if said["act"] != WITNESSED:
            return []
        return [Head(name, int(number), str(value)) for name, (number, value) in said["heads"].items()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _check_claim(
    witness: str,
    claim: Head,
    chain: Chain | None,
    hash_at: Callable[[str, int], str | None],
    report: Report,
) -> None:
    where = f"chain {claim.chain}"
    if chain is None:
        report.problems.append(f"{where}: it is gone, {witness} saw it with {claim.number} records")
    elif claim.number > chain.head.number:
        report.problems.append(
            f"{where}: it ends with record {chain.head.number}, {witness} saw {claim.number}"
        )
    elif claim.number >= chain.base.number:
        known = claim.number == chain.base.number
        found = chain.base.hash if known else hash_at(claim.chain, claim.number)
        if found != claim.hash:
            report.problems.append(f"{where}: {witness} saw another record {claim.number}")
