"""The audit as it stands in a database, in one snapshot of it, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.audit.records import Head, Signed
from cluster_agent.audit.verification import Chain, Stored
from cluster_agent.store.audit_tables import audit_chains, audit_records
from cluster_agent.store.database import connect, database_url, unusable

_AT_ONCE = 5000


class AuditReading:
    """One snapshot."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def chains(self) -> list[Chain]:
        rows = self._connection.execute(select(audit_chains).order_by(audit_chains.c.chain)).all()
        return [
            Chain(
                head=Head(row.chain, row.number, row.hash),
                signed=Signed(row.key, row.signature),
                base=Head(row.chain, row.base_number, row.base_hash),
                base_signed=Signed(row.base_key, row.base_signature),
            )
            for row in rows
        ]

    def records_of(self, chain: str, at_once: int = _AT_ONCE) -> Iterator[Stored]:
        columns, number = audit_records.c, -1
        while True:
            part = self._connection.execute(
                select(columns.number, columns.at, columns.record, columns.hash)
                .where(columns.chain == chain, columns.number > number)
                .order_by(columns.number)
                .limit(at_once)
            ).all()
            yield from (Stored(*row) for row in part)
            if len(part) < at_once:
                return
            number = part[-1].number

    def hash_at(self, chain: str, number: int) -> str | None:
        columns = audit_records.c
        return self._connection.scalar(
            select(columns.hash).where(columns.chain == chain, columns.number == number)
        )

    def names(self) -> list[str]:
        """The chains that records name."""
        return list(self._connection.scalars(select(audit_records.c.chain).distinct()))


@contextmanager
def reading_audit(url: str) -> Iterator[AuditReading]:
    """Raises StoreError when the database cannot be used, SettingsError when `url` names none."""
    database = connect(database_url(url))
    try:
        with database.reading.connect() as connection:
            if database.is_shared:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield AuditReading(connection)
    except SQLAlchemyError as error:
        raise unusable(database.reading.url, error) from error
    finally:
        database.dispose()
