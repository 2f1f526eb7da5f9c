"""The state of the identity roots, as one document that is changed by compare-and-swap.

A change is stored completely or not at all, and of two changes at once the second fails.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from cluster_agent.audit.records import Record
from cluster_agent.store.access import Access
from cluster_agent.store.tables import root_succession

_ONLY = 1


class RootSuccessions:
    """The document's row. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def read(self) -> tuple[int, str] | None:
        """The version and the document, or None."""
        rows = await self._access.read(select(root_succession.c.version, root_succession.c.document))
        return (rows[0].version, rows[0].document) if rows else None

    async def begin(self, version: int, document: str, record: Record) -> None:
        """Stores the first document, unless there is one. Durable when it returns."""
        row = {"id": _ONLY, "version": version, "document": document}
        adding = self._access.insert(root_succession).values(row).on_conflict_do_nothing()

        def begin(connection: Connection) -> None:
            if connection.execute(adding.returning(root_succession.c.id)).first() is not None:
                self._access.append(connection, record)

        await self._access.write(begin)

    async def note(self, record: Record) -> None:
        """Stores a record for a step that changes no document. Durable when it returns."""
        await self._access.write(lambda connection: self._access.append(connection, record))

    async def replace(self, seen: int, version: int, document: str, record: Record) -> bool:
        """Stores the next document, durably; returns False when the stored version is not `seen`."""
        statement = (
            update(root_succession)
            .where(root_succession.c.id == _ONLY, root_succession.c.version == seen)
            .values(version=version, document=document)
        )

        def swap(connection: Connection) -> bool:
            done = connection.execute(statement).rowcount == 1
            if done:
                self._access.append(connection, record)
            return done

        return await self._access.write(swap)
