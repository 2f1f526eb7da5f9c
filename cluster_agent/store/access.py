"""The database access that all parts of the store share: threads, transactions, and times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Row, Select, Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from cluster_agent.audit.records import Record
from cluster_agent.errors import Unavailable
from cluster_agent.store.audit_trail import AuditTrail
from cluster_agent.store.database import Database

_T = TypeVar("_T")
_LONGEST_CAUSE = 300
# A year before the end of datetime, so that a duration can be added.
_LAST_SECOND = int(datetime(9998, 12, 31, tzinfo=UTC).timestamp())
_log = structlog.get_logger(__name__)


class Access:
    """One thread writes, one reads for calls, and one counts, which may take longer.

    Every call may raise Unavailable when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.trail = AuditTrail()
        self.writes = 0  # other than issuances
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self.reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._counter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-counter")

    def insert(self, table: Table) -> Any:
        """An INSERT with ON CONFLICT, which both databases write in the same way."""
        # Only the dialect of the database in use is loaded: the other one takes 2.6 MiB.
        dialect = import_module(
            f"sqlalchemy.dialects.{'postgresql' if self.database.is_shared else 'sqlite'}"
        )
        return dialect.insert(table)

    async def write(self, work: Callable[[Connection], _T]) -> _T:
        """The result of `work` in a transaction; committed and durable when this returns."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self.writer, lambda: available(lambda: self.transaction(work))
            )
        finally:
            self.writes += 1

    async def drop_in_parts(self, drop: Callable[[Connection], int], at_once: int) -> int:
        """Removes rows, and returns how many. Each call of `drop` is a transaction that removes `at_once` of
        them at most, so that issuing never waits long for it; the last one removes fewer."""
        dropped = 0
        while True:
            part = await self.write(drop)
            dropped += part
            if part < at_once:
                return dropped

    async def change(self, work: Callable[[Connection], bool], *records: Record) -> bool:
        """Whether `work` changed anything; if so, the records are added to the audit in its transaction."""

        def change(connection: Connection) -> bool:
            changed = work(connection)
            if changed:
                self.append(connection, *records)
            return changed

        return await self.write(change)

    async def read(self, statement: Select[*tuple[Any, ...]]) -> Sequence[Row[*tuple[Any, ...]]]:
        return await asyncio.get_running_loop().run_in_executor(self.reader, self.rows, statement)

    async def count(self, work: Callable[[Connection], _T]) -> _T:
        """The result of the reading `work`, in a thread that no call waits for."""

        def read() -> _T:
            with self.database.reading.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._counter, lambda: available(read))

    def transaction(self, work: Callable[[Connection], _T]) -> _T:
        try:
            with self.database.writing.begin() as connection:
                done = work(connection)
        except BaseException:
            self.trail.failed()
            raise
        self.trail.committed()
        return done

    def append(self, connection: Connection, *records: Record) -> None:
        """Adds records of an act to the audit, in the transaction of the act."""
        self.trail.append(connection, records)

    def rows(
        self, statement: Select[*tuple[Any, ...]], values: Mapping[str, Any] | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        def read() -> Sequence[Row[*tuple[Any, ...]]]:
            with self.database.reading.connect() as connection:
                return connection.execute(statement, values).all()

        return available(read)

    def close(self) -> None:
        """Waits for the work that was begun."""
        for executor in (self.writer, self.reader, self._counter):
            executor.shutdown()
        self.database.dispose()


def available(work: Callable[[], _T]) -> _T:
    """The result of `work`. Raises Unavailable when the database does not answer."""
    try:
        return work()
    except SQLAlchemyError as error:
        _log.error("the store does not answer", error=_cause(error))
        # The message goes to the client, so it leaves out the statement and its values.
        raise Unavailable("StoreUnavailable", f"the store does not answer: {type(error).__name__}") from error


def _cause(error: SQLAlchemyError) -> str:
    """The database's own words: full, locked or read-only. The first line only, without statement and values:
    PostgreSQL's further lines quote them."""
    words = str(error.orig) if isinstance(error, DBAPIError) else ""
    first = next(iter(words.splitlines()), "")
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:_LONGEST_CAUSE]


def seconds(time: datetime) -> int:
    return int(time.timestamp())


def from_seconds(value: int) -> datetime:
    """The time. An absurd one, which another program put into the database, is limited: it must not make all
    others unreadable."""
    return datetime.fromtimestamp(min(max(value, 0), _LAST_SECOND), tz=UTC)
