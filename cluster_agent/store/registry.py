"""The registered applications, as rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, case, delete, or_, select, text

from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.tables import applications


@dataclass(frozen=True)
class RegisteredRow:
    """A registration; `signature` is the agent's, over all the rest but the time, which is when the
    application got that name."""

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

    async def put(self, row: RegisteredRow) -> str | None:
        """Registers, or changes, one application, durably; or answers the name of another that is in the way:
        the same, or one that extends it or that it extends, which is what a pod's name makes of it."""
        values = {**asdict(row), "registered_at": seconds(row.registered_at)}
        keys = ("namespace", "service_account")
        adding = self._access.insert(applications).values(values)
        adding = adding.on_conflict_do_update(
            index_elements=keys,
            set_={
                **{key: value for key, value in values.items() if key not in keys},
                "registered_at": case(
                    (applications.c.name == row.name, applications.c.registered_at),
                    else_=seconds(row.registered_at),
                ),
            },
        )
        others = select(applications.c.name).where(
            or_(
                applications.c.namespace != row.namespace,
                applications.c.service_account != row.service_account,
            ),
        )

        def put(connection: Connection) -> str | None:
            self._lock(connection)
            for other in map(str, connection.scalars(others)):
                if f"{row.name}:".startswith(f"{other}:") or f"{other}:".startswith(f"{row.name}:"):
                    return other
            connection.execute(adding)
            return None

        return await self._access.write(put)

    def _lock(self, connection: Connection) -> None:
        """One registers at a time, so that each sees the names before. SQLite has one writer."""
        if self._access.database.is_shared:
            connection.execute(text("LOCK TABLE applications IN SHARE ROW EXCLUSIVE MODE"))

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
