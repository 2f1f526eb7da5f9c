"""Pruning of the audit: removes the oldest records of a kind, at the beginnings of its chains.

It checks nothing. An attacker who can write to the database can make us remove records, as they can remove
them themselves; the heads noted in the log show either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from cluster_agent.audit.kinds import Kind, Limit, part_of_chain
from cluster_agent.store.audit_reading import in_parts
from cluster_agent.store.tables import audit_chains, audit_records

REMOVED_AT_ONCE = 2000
_CHAINS_AT_ONCE = 100
_READ_AT_ONCE = 500

_RECORDS = audit_records.c
_REMOVE = delete(audit_records).where(
    _RECORDS.chain == bindparam("of"), _RECORDS.number <= bindparam("through")
)
_SET_BASE = (
    update(audit_chains)
    .where(audit_chains.c.chain == bindparam("of"))
    .values(base_number=bindparam("through"), base_hash=bindparam("last_hash"))
)


@dataclass(frozen=True)
class Pruned:
    """What was removed: how many records, and for each chain the number of the last one."""

    records: int
    through: Mapping[str, int]


def prune(connection: Connection, kind: Kind, limit: Limit, now: datetime) -> Pruned:
    """Removes a limited number of records beyond the limit: those that are too old, and of the largest parts
    the oldest. The hash of the last record that is removed from a chain stays, as the chain's base."""
    parts: dict[str, list[Row[*tuple[Any, ...]]]] = {}
    for row in _begun(connection, kind):
        parts.setdefault(part_of_chain(row.chain), []).append(row)
    sizes = {part: sum(row.last - row.number + 1 for row in rows) for part, rows in parts.items()}
    kept = None if limit.most is None else largest_size(sizes.values(), limit.most)
    oldest, removed = int((now - limit.age).timestamp()), 0
    cuts: dict[str, dict[str, Any]] = {}
    for part, rows in parts.items():
        excess = 0 if kept is None else sizes[part] - kept
        removed += _cut(connection, rows, oldest, excess, REMOVED_AT_ONCE - removed, cuts)
    if cuts:
        # In a fixed order, so that two leaders, at the moment of a change, wait for each other and do not
        # deadlock.
        values = [cuts[name] for name in sorted(cuts)]
        connection.execute(_REMOVE, values)
        connection.execute(_SET_BASE, values)
    return Pruned(removed, {name: cuts[name]["through"] for name in sorted(cuts)})


def largest_size(sizes: Collection[int], most: int) -> int:
    """How many records the largest of some parts may keep, so that all together have at most `most`."""
    left = most
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return most


def _cut(
    connection: Connection,
    chains: Sequence[Row[*tuple[Any, ...]]],
    oldest: int,
    excess: int,
    most: int,
    cuts: dict[str, dict[str, Any]],
) -> int:
    """Adds to `cuts` where the chains of a part, whose first records are given, are to be cut off. Returns
    how many records that removes, `most` at most."""
    removed = 0
    records = merge(*(_records(connection, row) for row in chains), key=lambda row: (row.at, row.chain))
    for row in islice(records, most):
        full = row.chain not in cuts and len(cuts) == _CHAINS_AT_ONCE
        if full or (row.at >= oldest and removed >= excess):
            break
        cuts[row.chain] = {"of": row.chain, "through": row.number, "last_hash": row.hash}
        removed += 1
    return removed


def _begun(connection: Connection, kind: Kind) -> Sequence[Row[*tuple[Any, ...]]]:
    """The first record of each chain of the kind, with the number of the last. It reads two records of each
    chain, however long the chain is."""
    other = audit_records.alias("others").c
    of_chain = other.chain == audit_chains.c.chain
    first = select(func.min(other.number)).where(of_chain).correlate(audit_chains).scalar_subquery()
    last = select(func.max(other.number)).where(of_chain).correlate(audit_chains).scalar_subquery()
    statement = (
        select(_RECORDS.chain, _RECORDS.number, _RECORDS.at, _RECORDS.hash, last.label("last"))
        .select_from(audit_chains)
        .join(audit_records, (_RECORDS.chain == audit_chains.c.chain) & (_RECORDS.number == first))
        .where(audit_chains.c.chain.startswith(f"{kind}."))
        .order_by(_RECORDS.at, _RECORDS.chain)
    )
    return connection.execute(statement).all()


def _records(connection: Connection, first: Row[*tuple[Any, ...]]) -> Iterator[Row[*tuple[Any, ...]]]:
    """A chain's records in order. The first one is known already, and is not read again."""
    yield first
    statement = select(_RECORDS.chain, _RECORDS.number, _RECORDS.at, _RECORDS.hash)
    of_chain = statement.where(_RECORDS.chain == first.chain)
    yield from in_parts(connection, of_chain, _READ_AT_ONCE, first.number)
