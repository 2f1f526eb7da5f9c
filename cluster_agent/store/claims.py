"""The claim: one row or none. The database itself says who was first."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from cluster_agent.audit.records import Record
from cluster_agent.store.access import Access, seconds
from cluster_agent.store.tables import claims

_ONLY = 1


class Claims:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def add(self, document: str, signature: bytes, now: datetime, *records: Record) -> bool:
        """Whether this claim is the one that counts: the first. Durable when it returns."""
        row = {
            "id": _ONLY,
            "document": document,
            "signature": signature.hex(),
            "claimed_at": seconds(now),
        }
        adding = self._access.insert(claims).values(row).on_conflict_do_nothing().returning(claims.c.id)

        def claim(connection: Connection) -> bool:
            first = connection.execute(adding).first() is not None
            if first:
                self._access.append(connection, *records)
            return first

        return await self._access.write(claim)

    async def replace(self, seen: str, document: str, signature: bytes, record: Record) -> bool:
        """The document instead of `seen`, durable when it returns; False when another is there."""
        statement = (
            update(claims)
            .where(claims.c.id == _ONLY, claims.c.document == seen)
            .values(document=document, signature=signature.hex())
        )

        def replace(connection: Connection) -> bool:
            done = connection.execute(statement).rowcount == 1
            if done:
                self._access.append(connection, record)
            return done

        return await self._access.write(replace)

    async def stored(self) -> tuple[str, bytes] | None:
        """The document and its signature."""
        rows = await self._access.read(select(claims.c.document, claims.c.signature))
        return (rows[0].document, bytes.fromhex(rows[0].signature)) if rows else None
