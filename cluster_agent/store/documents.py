"""Signed documents, each the only one of its name: the administrator's claim, and the identity roots' phases.

A change is stored whole or not at all, and of two that are made at once the second fails. The reader verifies
the signature: writing to the database makes neither an administrator nor a root.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Executable, select, update

from cluster_agent.audit.records import Record
from cluster_agent.store.access import Access
from cluster_agent.store.tables import documents


@dataclass(frozen=True)
class SignedDocument:
    """A document, its version, and a signature in hex."""

    version: int
    document: str
    signature: str


class Document:
    """The document of that name. Every call may raise Unavailable; a change is durable when it returns."""

    def __init__(self, access: Access, name: str) -> None:
        self._access = access
        self._name = name

    async def read(self) -> SignedDocument | None:
        """None before the first."""
        columns = (documents.c.version, documents.c.document, documents.c.signature)
        rows = await self._access.read(select(*columns).where(documents.c.name == self._name))
        return SignedDocument(*rows[0]) if rows else None

    async def begin(self, first: SignedDocument, *records: Record) -> bool:
        """Whether this is the first document; if it is not, nothing is changed."""
        adding = self._access.insert(documents).values(name=self._name, **asdict(first))
        return await self._change(adding.on_conflict_do_nothing().returning(documents.c.name), records)

    async def replace(self, seen: int, following: SignedDocument, *records: Record) -> bool:
        """Whether the document is replaced; it is not when the stored one is no longer version `seen`."""
        replacing = update(documents).where(documents.c.name == self._name, documents.c.version == seen)
        return await self._change(replacing.values(**asdict(following)).returning(documents.c.name), records)

    async def note(self, record: Record) -> None:
        """Writes a record of an act about the document that does not change it."""
        await self._access.write(lambda connection: self._access.append(connection, record))

    async def _change(self, statement: Executable, records: tuple[Record, ...]) -> bool:
        return await self._access.change(
            lambda connection: connection.execute(statement).first() is not None, *records
        )
