"""This process's chain of audit records, and what becomes of all chains. Called with the connection of a
transaction, on the one thread that writes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from blessings import Principal
from cluster_agent.audit.records import BEGINNING, Head, Record, Signed, next_hash, seconds_of
from cluster_agent.store.audit_tables import audit_chains, audit_records

REMOVED_AT_ONCE = 5000
SignedHead = tuple[Head, Signed]

_log = structlog.get_logger(__name__)
_SET_HEAD = (
    update(audit_chains)
    .where(audit_chains.c.chain == bindparam("of"))
    .values({name: bindparam(f"new_{name}") for name in ("number", "hash", "key", "signature")})
)


class AuditTrail:
    """Appends to one chain, which begins with the first record. `signer` has the issuing key."""

    def __init__(self, signer: Callable[[], Principal]) -> None:
        self._signer = signer
        self._committed: SignedHead | None = None
        self._pending: SignedHead | None = None
        self._doubtful: SignedHead | None = None

    @property
    def head(self) -> SignedHead | None:
        """As it was last committed here, and its signature; None before the first record."""
        return self._committed

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        """Adds the records; `committed` or `failed` is to be called when the transaction has ended."""
        if not records:
            return
        if self._doubtful is not None:
            self._find_out(connection, self._doubtful)
        last = self._pending or self._committed
        beginning = last is None
        head = last[0] if last else Head(secrets.token_hex(8), *BEGINNING)
        if beginning:
            records = [Record("audit-begun", records[0].at), *records]
        rows = []
        for record in records:
            text = record.text()
            head = Head(head.chain, head.number + 1, next_hash(head, text))
            rows.append(
                {
                    "chain": head.chain,
                    "number": head.number,
                    "at": seconds_of(text),
                    "record": text,
                    "hash": head.hash,
                }
            )
        signed = head.signed_by(self._signer())
        self._pending = (head, signed)
        connection.execute(insert(audit_records), rows)
        if beginning:
            connection.execute(insert(audit_chains), _new_chain(head, signed))
        else:
            connection.execute(_SET_HEAD, _head_values(head, signed))

    def committed(self) -> None:
        """The transaction is durable."""
        if self._pending is not None:
            self._committed, self._pending = self._pending, None

    def failed(self) -> None:
        """The transaction is not; or, when the connection broke, perhaps it is."""
        if self._pending is not None:
            self._doubtful, self._pending = self._pending, None

    def witness(self, connection: Connection, now: datetime) -> Sequence[Head]:
        """Vouches in this chain for the others' heads; answers which, for `witnessed`."""
        own = self._committed[0].chain if self._committed else ""
        news = select(audit_chains.c.chain, audit_chains.c.number, audit_chains.c.hash).where(
            audit_chains.c.number > audit_chains.c.witnessed, audit_chains.c.chain != own
        )
        heads = [Head(*row) for row in connection.execute(news.order_by(audit_chains.c.chain).limit(100))]
        if heads:
            said = {one.chain: [one.number, one.hash] for one in heads}
            self.append(connection, [Record("audit-witnessed", now, details={"heads": said})])
        return heads

    def prune(self, connection: Connection, oldest: datetime, most: int, now: datetime) -> int:
        """Removes records from before `oldest`, and the oldest when there are more than `most`; answers how
        many, at most REMOVED_AT_ONCE. What is left of a chain has a signed base, and the removal a record."""
        chains = connection.execute(select(audit_chains)).all()
        excess = sum(row.number - row.base_number for row in chains) - most
        begins = [
            (row, _begin(connection, row.chain, row.base_number))
            for row in chains
            if row.number > row.base_number
        ]
        if not begins:
            return 0
        eldest = min(begins, key=lambda one: one[1])[0]
        # One more than there are too many, because the removal has a record, too.
        cut = _cut(connection, eldest, int(oldest.timestamp()), excess + 1 if excess > 0 else 0)
        if cut is None:
            return 0
        signed = cut.signed_by(self._signer(), "base")
        connection.execute(
            delete(audit_records).where(
                audit_records.c.chain == cut.chain, audit_records.c.number <= cut.number
            )
        )
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
        details = {"chain": cut.chain, "through": cut.number, "hash": cut.hash}
        self.append(connection, [Record("audit-pruned", now, details=details)])
        return int(cut.number - eldest.base_number)

    def _find_out(self, connection: Connection, doubtful: SignedHead) -> None:
        """Which of two heads is in the database. If neither is, somebody else wrote to this chain: another
        one is begun, and verifying shows what is wrong with this."""
        self._doubtful = None
        chain = doubtful[0].chain
        found = connection.execute(
            select(audit_chains.c.number, audit_chains.c.hash).where(audit_chains.c.chain == chain)
        ).one_or_none()
        there = None if found is None else Head(chain, *found)
        if there == doubtful[0]:
            self._committed = doubtful
        elif there != (self._committed[0] if self._committed else None):
            _log.error("the audit's chain was changed by somebody else; another is begun", chain=chain)
            self._committed = None


def witnessed(connection: Connection, head: Head) -> None:
    """Notes that `head` need not be vouched for again. One in a transaction: two replicas that vouch for each
    other would wait for each other's rows."""
    connection.execute(
        update(audit_chains)
        .where(audit_chains.c.chain == head.chain, audit_chains.c.witnessed < head.number)
        .values(witnessed=head.number)
    )


def _cut(connection: Connection, row: Row[Any], oldest: int, excess: int) -> Head | None:
    """The last record to remove, of the chain with that row."""
    columns = audit_records.c
    part = connection.execute(
        select(columns.number, columns.hash, columns.at)
        .where(columns.chain == row.chain, columns.number > row.base_number)
        .order_by(columns.number)
        .limit(REMOVED_AT_ONCE)
    ).all()
    cut = None
    for position, one in enumerate(part):
        if one.at >= oldest and position >= excess:
            break
        cut = Head(row.chain, one.number, one.hash)
    return cut


def _begin(connection: Connection, chain: str, base: int) -> int:
    columns = audit_records.c
    first = select(func.min(columns.at)).where(columns.chain == chain, columns.number == base + 1)
    # Somebody took the first record away: what else is there need not wait for it.
    return connection.execute(first).scalar_one() or 0


def _new_chain(head: Head, signed: Signed) -> dict[str, Any]:
    number, value = BEGINNING
    return {
        "chain": head.chain,
        "number": head.number,
        "hash": head.hash,
        "key": signed.key,
        "signature": signed.signature,
        "base_number": number,
        "base_hash": value,
        "base_key": "",
        "base_signature": "",
        "witnessed": 0,
    }


def _head_values(head: Head, signed: Signed) -> dict[str, Any]:
    return {
        "of": head.chain,
        "new_number": head.number,
        "new_hash": head.hash,
        "new_key": signed.key,
        "new_signature": signed.signature,
    }
