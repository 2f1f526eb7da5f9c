"""The claim: one row or none. The database decides which claim is the first."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select, update

from cluster_agent.audit.records import Record
from cluster_agent.store.access import Access, seconds
from cluster_agent.store.tables import claims

_ONLY = 1


class Claims:
    """The claim's row. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def add(self, document: str, signature: bytes, now: datetime, *records: Record) -> bool:
        """Stores the claim if it is the first, and returns whether it was. Durable when it returns."""
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
        """Replaces the document `seen`, durably; returns False when the stored document is another."""
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
        """The document and its signature, or None."""
        rows = await self._access.read(select(claims.c.document, claims.c.signature))
        return (rows[0].document, bytes.fromhex(rows[0].signature)) if rows else None
