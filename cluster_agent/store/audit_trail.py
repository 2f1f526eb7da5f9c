"""This process's chains of audit records, one for each kind, or each part of one.

It is used by the one thread that writes, with the connection of a transaction where there is one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

import structlog
from sqlalchemy import Connection, insert, select

from cluster_agent.audit.kinds import EVERY_PART, new_chain, part_of
from cluster_agent.audit.notes import Note
from cluster_agent.audit.records import BEGINNING, Head, Record, next_hash
from cluster_agent.store.tables import audit_chains, audit_records

_log = structlog.get_logger(__name__)
_ADD_CHAIN = insert(audit_chains)
_ADD_RECORDS = insert(audit_records)


class AuditTrail:
    """The chains of one process."""

    def __init__(self) -> None:
        self._chains = {part: _Chain(part) for part in EVERY_PART}
        self._key = secrets.token_bytes(32)

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        """Adds the records. Call `committed` or `failed` when the transaction has ended."""
        of_part: dict[str, list[Record]] = {}
        for record in records:
            of_part.setdefault(self.part_of(record), []).append(record)
        for part, some in of_part.items():
            self._chains[part].append(connection, some)

    def part_of(self, record: Record) -> str:
        """The part of its kind, in whose chain this process puts the record."""
        return part_of(record, self._key)

    def committed(self) -> None:
        """Notes that the transaction is durable."""
        for one in self._chains.values():
            one.committed()

    def failed(self) -> None:
        """Notes that the transaction failed, or, when the connection broke, may have failed."""
        for one in self._chains.values():
            one.failed()

    def check(self, connection: Connection) -> None:
        """Looks whether each chain ends in the database as we wrote it. One that does not is left as it is,
        and the next record begins another."""
        for one in self._chains.values():
            one.check(connection)

    @property
    def broken(self) -> int:
        """How many chains were found to be other than we wrote them, since the start."""
        return sum(one.broken for one in self._chains.values())

    def notes(self) -> list[Note]:
        """The heads that were committed since the last call. They come from memory, whatever the database
        contains."""
        return [note for one in self._chains.values() for note in one.notes()]


class _Chain:
    """One chain, which exists from its first record on. It keeps three notes: of what was committed, of what
    waits for its transaction's end, and of what is in doubt."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._committed: Note | None = None
        self._pending: Note | None = None
        self._doubtful: Note | None = None
        self._left: list[Note] = []
        self.broken = 0

    def append(self, connection: Connection, records: Sequence[Record]) -> None:
        self._settle(connection)
        last = self._pending or self._committed
        if last is None:
            last = Note(Head(new_chain(self._part), *BEGINNING), after=0, since=0)
            connection.execute(
                _ADD_CHAIN,
                {"chain": last.head.chain, "base_number": last.head.number, "base_hash": last.head.hash},
            )
            records = [Record("audit-begun", records[0].at), *records]
        head, rows = last.head, []
        for record in records:
            text, at = record.text(), int(record.at.timestamp())
            head = Head(head.chain, head.number + 1, next_hash(head, text))
            rows.append(
                {"chain": head.chain, "number": head.number, "at": at, "record": text, "hash": head.hash}
            )
        first = min(int(record.at.timestamp()) for record in records)
        since = first if last.head.number == last.after else min(last.since, first)
        self._pending = Note(head, last.after, since)
        connection.execute(_ADD_RECORDS, rows)

    def committed(self) -> None:
        if self._pending is not None:
            self._committed, self._pending = self._pending, None

    def failed(self) -> None:
        if self._pending is not None:
            self._doubtful, self._pending = self._pending, None

    def notes(self) -> list[Note]:
        found, self._left = self._left, []
        last = self._committed
        if last is not None and last.head.number > last.after:
            found.append(last)
            self._committed = replace(last, after=last.head.number)
        return found

    def _settle(self, connection: Connection) -> None:
        """Reads from the database whether a transaction in doubt was committed."""
        doubtful, known = self._doubtful, self._committed
        if doubtful is None:
            return
        columns = audit_records.c
        found = connection.execute(
            select(columns.number, columns.hash)
            .where(columns.chain == doubtful.head.chain, columns.number > (known.head.number if known else 0))
            .order_by(columns.number.desc())
            .limit(1)
        ).first()
        self._doubtful = None
        if found is None:
            return
        if Head(doubtful.head.chain, *found) == doubtful.head:
            self._committed = doubtful
            return
        self._leave("another program wrote to the audit's chain", doubtful.head.chain)

    def check(self, connection: Connection) -> None:
        known = self._committed
        if known is None or self._doubtful is not None or _hash_at(connection, known.head) == known.head.hash:
            return
        self._leave("the audit is not as it was written", known.head.chain)

    def _leave(self, event: str, chain: str) -> None:
        """The next record begins another chain; verification shows what is wrong with this one."""
        _log.error(event, chain=chain)
        known = self._committed
        self._left += [known] if known is not None and known.head.number > known.after else []
        self._committed = None
        self.broken += 1


def was_written(connection: Connection, head: Head) -> bool:
    """Whether the database has the record at `head`, or has removed it with those after it."""
    removed = select(audit_chains.c.base_number).where(
        audit_chains.c.chain == head.chain, audit_chains.c.base_number > head.number
    )
    return _hash_at(connection, head) == head.hash or connection.execute(removed).first() is not None


def _hash_at(connection: Connection, head: Head) -> str | None:
    """The hash that the database has for the record at `head`, also when that was the last of the removed."""
    for of, number, value in (
        (audit_records, audit_records.c.number, audit_records.c.hash),
        (audit_chains, audit_chains.c.base_number, audit_chains.c.base_hash),
    ):
        found = connection.execute(
            select(value).where(of.c.chain == head.chain, number == head.number)
        ).first()
        if found is not None:
            return str(found[0])
    return None
