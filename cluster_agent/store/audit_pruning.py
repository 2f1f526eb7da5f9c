"""Where a chain of audit records may be cut off: at its beginning, where everything is as it was written.

Who can write to the database must not be able to have us remove, and sign the removal of, what they want to
be gone. So a time is a record's own and not its column's, a chain must have a head and a base that our key
signed, and what is removed must hang together from that base on. Else it stays, and verifying tells what is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import structlog
from sqlalchemy import Connection, Row, and_, delete, select, update

from blessings import InvalidKey, PublicKey
from blessings.keys import encoded
from cluster_agent.audit.kinds import Rule, kind_of_chain
from cluster_agent.audit.records import BEGINNING, Head, Signed, next_hash, seconds_of
from cluster_agent.audit.verification import vouched_for
from cluster_agent.store.audit_tables import audit_chains, audit_records

REMOVED_AT_ONCE = 2000
_CHAINS_AT_ONCE = 100

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Cut:
    """Of a chain: what its records begin after now, the last of those to remove, and their texts."""

    base: Head
    last: Head
    texts: tuple[str, ...]

    @property
    def count(self) -> int:
        return self.last.number - self.base.number


def find_cuts(connection: Connection, rule: Rule, key: PublicKey) -> list[Cut]:
    """What to remove, the eldest first, at most REMOVED_AT_ONCE records; the chains are in the order
    of their names."""
    signer = encoded(key).hex()
    chains = _begun(connection, rule)
    counted = sum(row.number - row.base_number for _, row in chains)
    if rule.most is not None and counted > rule.most:
        # Only what is whole counts, else who puts a chain there could push out the others.
        chains = [(at, row) for at, row in chains if _is_whole(row, signer)]
        counted = sum(row.number - row.base_number for _, row in chains)
    excess = 0 if rule.most is None else counted - rule.most
    oldest = 0 if rule.oldest is None else int(rule.oldest.timestamp())
    cuts: list[Cut] = []
    left = REMOVED_AT_ONCE
    for at, row in chains:
        if (at >= oldest and excess <= 0) or left == 0 or len(cuts) == _CHAINS_AT_ONCE:
            break
        if not _is_whole(row, signer):
            continue
        last, texts = None, []
        for record in _records(connection, row, left):
            if record.at >= oldest and excess <= 0:
                break
            last, excess, left = record.head, excess - 1, left - 1
            texts.append(record.text)
        if last is not None:
            cuts.append(Cut(_base(row), last, tuple(texts)))
    return sorted(cuts, key=lambda cut: cut.last.chain)


def still_needed(connection: Connection, cuts: Iterable[Cut], key: PublicKey) -> list[Head]:
    """What the removed records vouched for, and still has to be: all but what was removed in time itself."""
    claims: dict[str, Head] = {}
    for cut in cuts:
        for text in cut.texts:
            for head in vouched_for(text):
                if head.chain not in claims or claims[head.chain].number < head.number:
                    claims[head.chain] = head
    if not claims:
        return []
    rows = {row.chain: row for row in connection.execute(select(audit_chains))}
    return [
        head
        for name, head in sorted(claims.items())
        if name not in rows or not is_removed(rows[name], head.number, key)
    ]


def is_removed(row: Row[Any], number: int, key: PublicKey) -> bool:
    """Whether that record of a chain was removed in time, as the chain's signed base says."""
    signed = Signed(row.base_key, row.base_signature)
    return row.base_number >= number and _is_signed_by(_base(row), signed, "base", encoded(key).hex())


def cut_off(connection: Connection, cut: Head, signed: Signed) -> None:
    """Removes the records of a chain up to `cut`, which becomes its base."""
    columns = audit_records.c
    connection.execute(delete(audit_records).where(columns.chain == cut.chain, columns.number <= cut.number))
    connection.execute(
        update(audit_chains)
        .where(audit_chains.c.chain == cut.chain)
        .values(
            base_number=cut.number,
            base_hash=cut.hash,
            base_key=signed.key,
            base_signature=signed.signature,
        )
    )


@dataclass(frozen=True)
class _Removable:
    head: Head
    at: int
    text: str


def _begun(connection: Connection, rule: Rule) -> list[tuple[int, Row[Any]]]:
    """The chains of the rule's kinds that have records, with the times of their first ones, in that order."""
    columns = audit_records.c
    first = and_(
        columns.chain == audit_chains.c.chain,
        columns.number == audit_chains.c.base_number + 1,
    )
    statement = (
        select(audit_chains, columns.record.label("first_text"), columns.hash.label("first_hash"))
        .outerjoin(audit_records, first)
        .where(audit_chains.c.number > audit_chains.c.base_number)
    )
    found = []
    for row in connection.execute(statement):
        if kind_of_chain(row.chain) not in rule.kinds:
            continue
        try:
            found.append((seconds_of(row.first_text), row))
        except (ValueError, KeyError, TypeError):
            _say_changed(row)
    return sorted(found, key=lambda one: (one[0], one[1].chain))


def _is_whole(row: Row[Any], key: str) -> bool:
    """Whether its head and base are signed, and its first record is the one that comes after the base."""
    head, base = Head(row.chain, row.number, row.hash), _base(row)
    whole = (
        row.first_hash == next_hash(base, row.first_text)
        and _is_signed_by(head, Signed(row.key, row.signature), "head", key)
        and (
            (base.number, base.hash) == BEGINNING
            or _is_signed_by(base, Signed(row.base_key, row.base_signature), "base", key)
        )
    )
    if not whole:
        _say_changed(row)
    return whole


def _say_changed(row: Row[Any]) -> None:
    _log.error("nothing is removed from a chain of the audit that was changed", chain=row.chain)


def _records(connection: Connection, row: Row[Any], most: int) -> list[_Removable]:
    """The first records of a chain, as far as they hang together."""
    columns = audit_records.c
    part = connection.execute(
        select(columns.number, columns.hash, columns.record)
        .where(columns.chain == row.chain, columns.number > row.base_number)
        .order_by(columns.number)
        .limit(most)
    )
    at, found = _base(row), []
    for one in part:
        if one.number != at.number + 1 or one.hash != next_hash(at, one.record):
            break
        at = Head(row.chain, one.number, one.hash)
        if at.number > row.number or (at.number == row.number and at.hash != row.hash):
            break
        try:
            found.append(_Removable(at, seconds_of(one.record), one.record))
        except (ValueError, KeyError, TypeError):
            break
    return found


def _base(row: Row[Any]) -> Head:
    return Head(row.chain, row.base_number, row.base_hash)


# What was found once holds for ever; chains of processes that are gone are looked at again and again.
@lru_cache(maxsize=20_000)
def _is_signed_by(head: Head, signed: Signed, role: str, key: str) -> bool:
    try:
        return signed.key == key and head.is_signed(signed, role)
    except (InvalidKey, ValueError):
        return False
