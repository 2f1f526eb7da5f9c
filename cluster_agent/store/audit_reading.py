"""The audit in a database, read from one snapshot and in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Row, Select, select
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.audit.records import Head
from cluster_agent.audit.verification import StoredRecord
from cluster_agent.store.database import connect, database_url, unusable
from cluster_agent.store.tables import audit_chains, audit_records

_AT_ONCE = 5000


class AuditReading:
    """One snapshot of the audit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def bases(self) -> list[Head]:
        """For each chain, the head before its first record."""
        return [Head(*row) for row in self._connection.execute(select(audit_chains).order_by("chain"))]

    def records_of(
        self, chain: str, *, since: int = 0, until: int | None = None, at_once: int = _AT_ONCE
    ) -> Iterator[StoredRecord]:
        """The records from second `since` to before `until`."""
        columns = audit_records.c
        statement = select(columns.number, columns.at, columns.record, columns.hash)
        statement = statement.where(columns.chain == chain, columns.at >= since)
        if until is not None:
            statement = statement.where(columns.at < until)
        yield from (StoredRecord(*row) for row in in_parts(self._connection, statement, at_once))

    def names(self) -> list[str]:
        """The chains that occur in records."""
        return list(self._connection.scalars(select(audit_records.c.chain).distinct()))


def in_parts(
    connection: Connection, statement: Select[*tuple[Any, ...]], at_once: int, number: int = -1
) -> Iterator[Row[*tuple[Any, ...]]]:
    """The rows of `statement`, which selects records of one chain, in order and after `number`."""
    ordered = statement.order_by(audit_records.c.number).limit(at_once)
    while True:
        part = connection.execute(ordered.where(audit_records.c.number > number)).all()
        yield from part
        if len(part) < at_once:
            return
        number = part[-1].number


@contextmanager
def reading_audit(url: str) -> Iterator[AuditReading]:
    """Opens the database at `url`. Raises StoreError when it cannot be used, SettingsError when `url` is
    wrong."""
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
