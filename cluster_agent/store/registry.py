"""The registered applications, as rows. No call reads more rows than it is about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    bindparam,
    delete,
    insert,
    select,
    text,
    tuple_,
)

from cluster_agent.audit.records import Record
from cluster_agent.errors import Conflict
from cluster_agent.model import Application
from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.tables import application_dns_names, applications

_AT_ONCE = 500
_of_application = tuple_(applications.c.namespace, applications.c.service_account)
# Made once, because making a statement costs as much as executing it.
_OF_APPLICATIONS = select(applications).where(_of_application.in_(bindparam("keys", expanding=True)))


@dataclass(frozen=True)
class RegisteredRow:
    """A registration. `signature` is the agent's, over all other fields except the time, which is when the
    application got that name. `dns_names` are separated by spaces; None when there are none."""

    namespace: str
    service_account: str
    name: str
    ttl_seconds: int | None
    chain: str | None
    signature: str
    registered_at: datetime
    dns_names: str | None = None

    @property
    def application(self) -> Application:
        return Application(self.namespace, self.service_account)


@dataclass(frozen=True)
class ListedRow:
    """A registration, and another application's that is in its way, which an older version allowed."""

    row: RegisteredRow
    in_the_way: RegisteredRow | None


class RegisteredApplications:
    """The table of registrations. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.asked = Batches(access.reader, self._of_applications)

    async def of(self, application: Application) -> RegisteredRow | None:
        """The application's registration. May raise TooManyRequests."""
        return await self.asked.submit(application, (application.namespace, application.service_account))

    async def among(self, some: Sequence[Application]) -> dict[Application, RegisteredRow]:
        """The registrations of those applications that have one. For lists: it may take longer."""

        def read(connection: Connection) -> dict[Application, RegisteredRow]:
            parts = (some[at : at + _AT_ONCE] for at in range(0, len(some), _AT_ONCE))
            found = (row for part in parts for row in connection.execute(*_of(part)).mappings())
            return {row.application: row for row in map(_row, found)}

        return await self._access.count(read)

    async def page(self, after: Application | None, most: int) -> Sequence[ListedRow]:
        """At most that many registrations that follow `after`, ordered by namespace and service account."""
        statement = select(applications).order_by(applications.c.namespace, applications.c.service_account)
        if after is not None:
            statement = statement.where(_of_application > (after.namespace, after.service_account))

        def read(connection: Connection) -> Sequence[ListedRow]:
            rows = [_row(found) for found in connection.execute(statement.limit(most)).mappings()]
            return [ListedRow(row, _in_the_way(connection, row)) for row in rows]

        return await self._access.count(read)

    async def ttls(
        self, below: int | None, *, after: Application | None, most: int
    ) -> Sequence[tuple[Application, int]]:
        """At most that many applications that follow `after` and have a TTL of their own, of less than
        `below` seconds where that is given. In the order of `page`. It looks at every registration."""
        ttl = applications.c.ttl_seconds
        statement = (
            select(applications.c.namespace, applications.c.service_account, ttl)
            .where(ttl.is_not(None) if below is None else ttl < below)
            .order_by(applications.c.namespace, applications.c.service_account)
            .limit(most)
        )
        if after is not None:
            statement = statement.where(_of_application > (after.namespace, after.service_account))

        def read(connection: Connection) -> Sequence[tuple[Application, int]]:
            return [
                (Application(one.namespace, one.service_account), one.ttl_seconds)
                for one in connection.execute(statement)
            ]

        return await self._access.count(read)

    async def put(
        self, row: RegisteredRow, record: Record, *, own_name: str, share_dns_names: bool = False
    ) -> datetime | None:
        """Registers or changes one application, durably. Returns when it got its name, if it had that name
        before; `own_name` is the one that it has without a registration, from the beginning of time.

        Raises Conflict when another one's name is in the way: the same name, one that extends it, or one that
        it extends, because a pod's name is an extension too. Likewise for a DNS name that another application
        has and this one had not, unless they are to share it. The record gets the new and the previous
        registration.
        """
        key = {"namespace": row.namespace, "serviceAccount": row.service_account}

        def put(connection: Connection) -> datetime | None:
            self._lock(connection)
            before = _before(connection, row.application)
            _refuse_name_of_another(connection, row)
            if row.dns_names and not share_dns_names:
                _refuse_dns_names_of_another(connection, row, before)
            since = _named_since(row.name, before, own_name)
            registered_at = row.registered_at if since is None else since
            values = {**asdict(row), "registered_at": seconds(registered_at)}
            adding = self._access.insert(applications).values(values)
            connection.execute(
                adding.on_conflict_do_update(index_elements=["namespace", "service_account"], set_=values)
            )
            if row.dns_names != (before and before.dns_names):
                _index_dns_names(connection, row.application, _split(row.dns_names))
            details = {**key, **_described(row), "before": before and _described(before)}
            self._access.append(connection, record.saying(**details))
            return since

        return await self._access.write(put)

    def _lock(self, connection: Connection) -> None:
        """Lets one transaction register at a time, so that each sees all earlier names. SQLite has one
        writer."""
        if self._access.database.is_shared:
            connection.execute(text("LOCK TABLE applications IN SHARE ROW EXCLUSIVE MODE"))

    async def remove(self, application: Application, record: Record) -> bool:
        """Removes a registration, durably, and returns whether it existed. If so, the record gets the
        previous registration."""
        key = {"namespace": application.namespace, "serviceAccount": application.service_account}

        def remove(connection: Connection) -> bool:
            self._lock(connection)
            before = _before(connection, application)
            if before is None:
                return False
            connection.execute(delete(applications).where(_is(application)))
            _index_dns_names(connection, application, ())
            self._access.append(connection, record.saying(**key, before=_described(before)))
            return True

        return await self._access.write(remove)

    def _of_applications(self, some: Sequence[Application]) -> Sequence[RegisteredRow | None]:
        rows = map(_row, (found._mapping for found in self._access.rows(*_of(some))))
        known = {row.application: row for row in rows}
        return [known.get(one) for one in some]


def _in_the_way(connection: Connection, row: RegisteredRow) -> RegisteredRow | None:
    """Another application's registration under the same name, one above it, or one below it."""
    components = row.name.split(":")
    same_or_above = [":".join(components[:count]) for count in range(1, len(components) + 1)]
    name = applications.c.name
    # What begins with `name:`, as a range of the index: the character after the colon is the semicolon.
    below = and_(name > f"{row.name}:", name < f"{row.name};")
    for others in (
        select(applications).where(name.in_(same_or_above)),
        # One of them may be the application's own. Without the order, PostgreSQL may read the whole table.
        select(applications).where(below).order_by(name).limit(2),
    ):
        for other in map(_row, connection.execute(others).mappings()):
            if other.application != row.application:
                return other
    return None


def _refuse_name_of_another(connection: Connection, row: RegisteredRow) -> None:
    other = _in_the_way(connection, row)
    if other is not None:
        raise Conflict(
            "NameTaken",
            f"another application is registered as {other.name}; choose a name that neither is it, nor "
            "extends it, nor is extended by it",
        )


def _refuse_dns_names_of_another(
    connection: Connection, row: RegisteredRow, before: RegisteredRow | None
) -> None:
    had = () if before is None else _split(before.dns_names)
    table = application_dns_names
    new = [one for one in _split(row.dns_names) if one not in had]
    for other in connection.execute(select(table).where(table.c.dns_name.in_(new))):
        if (other.namespace, other.service_account) != (row.namespace, row.service_account):
            raise Conflict(
                "DnsNameTaken",
                f"{other.dns_name} is a DNS name of {other.namespace}/{other.service_account}; with "
                "shareDnsNames both applications have it",
            )


def _named_since(name: str, before: RegisteredRow | None, own_name: str) -> datetime | None:
    """When the application got that name; None when it has another."""
    if before is None:
        return from_seconds(0) if name == own_name else None
    return before.registered_at if name == before.name else None


def _index_dns_names(connection: Connection, application: Application, names: Sequence[str]) -> None:
    key = {"namespace": application.namespace, "service_account": application.service_account}
    table = application_dns_names
    connection.execute(
        delete(table).where(
            table.c.namespace == application.namespace, table.c.service_account == application.service_account
        )
    )
    if names:
        connection.execute(insert(table), [{"dns_name": one, **key} for one in names])


def _split(dns_names: str | None) -> list[str]:
    return (dns_names or "").split()


def _before(connection: Connection, application: Application) -> RegisteredRow | None:
    found = connection.execute(select(applications).where(_is(application))).mappings().one_or_none()
    return None if found is None else _row(found)


def _of(some: Sequence[Application]) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
    keys = {(one.namespace, one.service_account) for one in some}
    return _OF_APPLICATIONS, {"keys": list(keys)}


def _row(found: RowMapping) -> RegisteredRow:
    return RegisteredRow(**{**found, "registered_at": from_seconds(found["registered_at"])})


def _is(application: Application) -> ColumnElement[bool]:
    return and_(
        applications.c.namespace == application.namespace,
        applications.c.service_account == application.service_account,
    )


def _described(row: RegisteredRow) -> dict[str, Any]:
    """The registration for the audit. It contains the chain's hash, because a chain is long."""
    chain = None if row.chain is None else hashlib.sha256(row.chain.encode()).hexdigest()
    return {
        "name": row.name,
        "ttlSeconds": row.ttl_seconds,
        "chain": chain,
        "dnsNames": _split(row.dns_names),
    }
