"""The registered applications, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, or_, select

from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.tables import applications


@dataclass(frozen=True)
class RegisteredRow:
    """A registration; `signature` is the agent's, over all the rest but the time."""

    namespace: str
    service_account: str
    name: str
    ttl_seconds: int | None
    chain: str | None
    signature: str
    registered_at: datetime


class RegisteredApplications:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def put(self, row: RegisteredRow) -> bool:
        """Registers, or changes, one application, durably. False when another has the name."""
        values = {**asdict(row), "registered_at": seconds(row.registered_at)}
        keys = ("namespace", "service_account")
        adding = self._access.insert(applications).values(values)
        adding = adding.on_conflict_do_update(
            index_elements=keys, set_={key: value for key, value in values.items() if key not in keys}
        )
        taken = select(applications.c.name).where(
            applications.c.name == row.name,
            or_(
                applications.c.namespace != row.namespace,
                applications.c.service_account != row.service_account,
            ),
        )

        def put(connection: Connection) -> bool:
            if connection.execute(taken).first() is not None:
                return False
            connection.execute(adding)
            return True

        return await self._access.write(put)

    async def remove(self, namespace: str, service_account: str) -> bool:
        """Durable when it returns. Answers whether it was there."""
        statement = delete(applications).where(
            applications.c.namespace == namespace, applications.c.service_account == service_account
        )
        return await self._access.write(lambda connection: connection.execute(statement).rowcount == 1)

    async def all(self) -> tuple[RegisteredRow, ...]:
        """Ordered by namespace and service account."""
        statement = select(applications).order_by(applications.c.namespace, applications.c.service_account)

        def read(connection: Connection) -> tuple[RegisteredRow, ...]:
            return tuple(
                RegisteredRow(**{**row, "registered_at": from_seconds(row["registered_at"])})
                for row in connection.execute(statement).mappings()
            )

        return await self._access.count(read)
