"""The registered applications, as rows."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, case, delete, not_, select, text

from cluster_agent.audit.records import Record
from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.tables import applications


@dataclass(frozen=True)
class RegisteredRow:
    """A registration. `signature` is the agent's, over all other fields except the time, which is when the
    application got that name."""

    namespace: str
    service_account: str
    name: str
    ttl_seconds: int | None
    chain: str | None
    signature: str
    registered_at: datetime


class RegisteredApplications:
    """The table of registrations. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def put(self, row: RegisteredRow, record: Record) -> str | None:
        """Registers or changes one application, durably; or returns the name of another one that is in the
        way.

        In the way is the same name, one that extends it, or one that it extends, because a pod's name is an
        extension too. The record gets the new and the previous registration.
        """
        values = {**asdict(row), "registered_at": seconds(row.registered_at)}
        key = {"namespace": row.namespace, "serviceAccount": row.service_account}
        adding = self._access.insert(applications).values(values)
        adding = adding.on_conflict_do_update(
            index_elements=["namespace", "service_account"],
            set_={
                **values,
                "registered_at": case(
                    (applications.c.name == row.name, applications.c.registered_at),
                    else_=seconds(row.registered_at),
                ),
            },
        )
        others = select(applications.c.name).where(not_(_is(key)))

        def put(connection: Connection) -> str | None:
            self._lock(connection)
            for other in map(str, connection.scalars(others)):
                if f"{row.name}:".startswith(f"{other}:") or f"{other}:".startswith(f"{row.name}:"):
                    return other
            details = {**key, **_described(row), "before": self._before(connection, key)}
            connection.execute(adding)
            self._access.append(connection, record.saying(**details))
            return None

        return await self._access.write(put)

    def _lock(self, connection: Connection) -> None:
        """Lets one transaction register at a time, so that each sees all earlier names. SQLite has one
        writer."""
        if self._access.database.is_shared:
            connection.execute(text("LOCK TABLE applications IN SHARE ROW EXCLUSIVE MODE"))

    async def remove(self, namespace: str, service_account: str, record: Record) -> bool:
        """Removes a registration, durably, and returns whether it existed. If so, the record gets the
        previous registration."""
        key = {"namespace": namespace, "serviceAccount": service_account}

        def remove(connection: Connection) -> bool:
            self._lock(connection)
            before = self._before(connection, key)
            if before is None:
                return False
            connection.execute(delete(applications).where(_is(key)))
            self._access.append(connection, record.saying(**key, before=before))
            return True

        return await self._access.write(remove)

    def _before(self, connection: Connection, key: dict[str, str]) -> dict[str, Any] | None:
        found = connection.execute(select(applications).where(_is(key))).mappings().one_or_none()
        return None if found is None else _described(_row(found))

    async def all(self) -> tuple[RegisteredRow, ...]:
        """All registrations, ordered by namespace and service account."""
        statement = select(applications).order_by(applications.c.namespace, applications.c.service_account)

        def read(connection: Connection) -> tuple[RegisteredRow, ...]:
            return tuple(_row(row) for row in connection.execute(statement).mappings())

        return await self._access.count(read)


def _row(found: RowMapping) -> RegisteredRow:
    return RegisteredRow(**{**found, "registered_at": from_seconds(found["registered_at"])})


def _is(key: dict[str, str]) -> ColumnElement[bool]:
    return and_(
        applications.c.namespace == key["namespace"],
        applications.c.service_account == key["serviceAccount"],
    )


def _described(row: RegisteredRow) -> dict[str, Any]:
    """The registration for the audit. It contains the chain's hash, because a chain is long."""
    chain = None if row.chain is None else hashlib.sha256(row.chain.encode()).hexdigest()
    return {"name": row.name, "ttlSeconds": row.ttl_seconds, "chain": chain}
