"""Where a chain of audit records may be cut off: at its beginning, where everything is as it was written.

Who can write to the database must not be able to have us remove, and sign the removal of, what they want to
be gone. So a time is a record's own and not its column's, a chain must have a head and a base that our key
signed, and what is removed must hang together from that base on. Else it stays, and verifying tells what is
wrong.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection, Row, delete, select, update

from blessings import InvalidKey, PublicKey, fingerprint
from cluster_agent.audit.kinds import Kind, Rule, kind_of_chain
from cluster_agent.audit.records import BEGINNING, Head, Signed, next_hash, seconds_of
from cluster_agent.store.audit_tables import audit_chains, audit_records

REMOVED_AT_ONCE = 2000

_log = structlog.get_logger(__name__)


def find_cut(connection: Connection, rule: Rule, key: PublicKey) -> tuple[Head, Head] | None:
    """The base of a chain, and the last record of it to remove, at most REMOVED_AT_ONCE after it. None when
    there is nothing to remove."""
    chains = []
    for row in connection.execute(
        select(audit_chains).where(audit_chains.c.number > audit_chains.c.base_number)
    ):
        if kind_of_chain(row.chain) not in rule.kinds:
            continue
        first = _records(connection, row, 1)
        if first and _is_signed(row, fingerprint(key)):
            chains.append((first[0][1], row))
        else:
            _log.error("nothing is removed from a chain of the audit that was changed", chain=row.chain)
    excess = 0 if rule.most is None else sum(row.number - row.base_number for _, row in chains) - rule.most
    if excess > 0 and Kind.UPKEEP in rule.kinds:
        excess += 1  # the removal has a record, too
    oldest = 0 if rule.oldest is None else int(rule.oldest.timestamp())
    if not chains:
        return None
    at, eldest = min(chains, key=lambda one: one[0])
    if at >= oldest and excess <= 0:
        return None
    cut = None
    for position, (record, at) in enumerate(_records(connection, eldest, REMOVED_AT_ONCE)):
        if at >= oldest and position >= excess:
            break
        cut = record
    return None if cut is None else (_base(eldest), cut)


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


def _records(connection: Connection, row: Row[Any], most: int) -> list[tuple[Head, int]]:
    """The first records of a chain and their times, as far as they hang together."""
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
        if at.number == row.number and at.hash != row.hash:
            break
        try:
            found.append((at, seconds_of(one.record)))
        except (ValueError, KeyError, TypeError):
            break
    return found


def _base(row: Row[Any]) -> Head:
    return Head(row.chain, row.base_number, row.base_hash)


def _is_signed(row: Row[Any], key: str) -> bool:
    head, base = Head(row.chain, row.number, row.hash), _base(row)
    return _is_signed_by(head, Signed(row.key, row.signature), "head", key) and (
        (base.number, base.hash) == BEGINNING
        or _is_signed_by(base, Signed(row.base_key, row.base_signature), "base", key)
    )


def _is_signed_by(head: Head, signed: Signed, role: str, key: str) -> bool:
    try:
        return signed.fingerprint == key and head.is_signed(signed, role)
    except (InvalidKey, ValueError):
        return False
