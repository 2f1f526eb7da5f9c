"""A search of the audit by time, act and name, newest records first, in pages.

It reads the records of the whole time that is asked for, in the thread that no call waits for: an index by
time would cost each issuance, all day, for what an administrator does now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, literal, select, tuple_

from cluster_agent.store.access import Access, seconds
from cluster_agent.store.tables import audit_records


@dataclass(frozen=True)
class Place:
    """A record's place in the order: its second, its chain and its number there."""

    at: int
    chain: str
    number: int


@dataclass(frozen=True)
class Wanted:
    """What is searched for: `since` to before `until`. `mentions` are texts that the record has as JSON."""

    since: datetime
    until: datetime
    mentions: Sequence[str] = ()


class AuditSearch:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def records(
        self, wanted: Wanted, *, limit: int, before: Place | None = None
    ) -> Sequence[tuple[Place, str]]:
        """The first `limit` records that come before that place, each with the text that was stored."""
        columns = audit_records.c
        order = (columns.at, columns.chain, columns.number)
        statement = (
            select(*order, columns.record)
            .where(columns.at >= seconds(wanted.since), columns.at < seconds(wanted.until))
            .order_by(*(one.desc() for one in order))
            .limit(limit)
        )
        for text in wanted.mentions:
            statement = statement.where(columns.record.contains(text, autoescape=True))
        if before is not None:
            place = tuple_(literal(before.at), literal(before.chain), literal(before.number))
            statement = statement.where(tuple_(*order) < place)

        def read(connection: Connection) -> Sequence[tuple[Place, str]]:
            rows = connection.execute(statement)
            return [(Place(row.at, row.chain, row.number), row.record) for row in rows]

        return await self._access.count(read)
