"""Revocations, and their effects: a revoked replica gets no certificate, a revoked application gets no
secret."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    select,
    update,
)

from blessings import Name
from cluster_agent.audit.records import Record
from cluster_agent.model import Application
from cluster_agent.store.access import Access, seconds
from cluster_agent.store.locks import hold_off_issuing
from cluster_agent.store.published_revocations import next_number
from cluster_agent.store.tables import (
    applications,
    issuances,
    revocation_state,
    revoked_applications,
    revoked_certificates,
    revoked_replicas,
    secrets,
)

# SQLite accepts 250 000 variables in a statement at most, and 32 766 by default; PostgreSQL 65 535.
_PODS_AT_ONCE = 5000


@dataclass(frozen=True)
class Revoked:
    """The result: `certificates` that were valid and are now revoked; `known` is whether there was anything
    to revoke."""

    certificates: int
    known: bool


class Revocations:
    """The tables of revocations. Every call is durable when it returns, and may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def revoke_replica(
        self, pod_uid: str, now: datetime, *records: Record, ahead: bool = False
    ) -> Revoked:
        """Revokes this pod's certificates, and issues none to it from now on. A pod that had none before is
        unknown, and revoked only with `ahead`."""
        of_it = issuances.c.pod_uid == pod_uid
        refused_before = revoked_replicas.c.pod_uid == pod_uid

        def revoke(connection: Connection) -> tuple[Revoked, bool]:
            known = exists(connection, of_it) or exists(connection, refused_before)
            if not known and not ahead:
                return Revoked(0, known=False), False
            refused = self._refuse(connection, [pod_uid], now, gone=False)
            return Revoked(self._revoke(connection, of_it, now), known), bool(refused)

        return await self._recorded(revoke, records)

    async def revoke_gone(self, pod_uids: Collection[str], now: datetime, record: Record) -> Revoked:
        """Revokes the certificates of these pods, which were deleted. For each pod that had any, and was not
        revoked before, the record is written, with the pod and the number of its valid certificates."""

        def revoke(connection: Connection) -> Revoked:
            hold_off_issuing(connection)
            revoked, known = 0, False
            for part in _parts(pod_uids):
                of_part = issuances.c.pod_uid.in_(part)
                issued = set(connection.scalars(select(issuances.c.pod_uid).where(of_part).distinct()))
                refused = self._refuse(connection, issued, now, gone=True)
                self._access.append(connection, *_gone(connection, refused, now, record))
                revoked += self._revoke(connection, of_part, now)
                known = known or bool(issued)
            return Revoked(revoked, known)

        return await self._access.write(revoke)

    async def revoke_replica_of_serial(self, serial: str, now: datetime, *records: Record) -> Revoked:
        """Revokes the replica with the certificate of that serial number (in hex)."""
        return await self._revoke_found(issuances.c.serial == serial, now, records)

    async def revoke_replica_named(self, name: Name, now: datetime, *records: Record) -> Revoked:
        """Revokes the replicas that have that name now. A later pod with that name is another replica."""
        *application, pod = name.components
        issuer = ":".join(application)
        found = and_(issuances.c.issuer == issuer, issuances.c.pod_name == pod)
        return await self._revoke_found(found, now, records)

    async def revoke_secret(self, secret_id: str, now: datetime, *records: Record) -> Revoked:
        """Forgets the secret, and revokes the certificates issued under it."""

        def revoke(connection: Connection) -> tuple[Revoked, bool]:
            known = exists(connection, secrets.c.id == secret_id)
            forgotten = forget_secrets(connection, secrets.c.id == secret_id, now)
            revoked = self._revoke(connection, issuances.c.secret_id == secret_id, now)
            return Revoked(revoked, known), forgotten

        return await self._recorded(revoke, records)

    async def revoke_application(
        self, application: Application, now: datetime, *records: Record, ahead: bool = False
    ) -> Revoked:
        """Forgets the application's secrets, revokes the certificates issued under them, and refuses new
        secrets. An unknown application is revoked only with `ahead`."""

        adding = self._access.insert(revoked_applications).values(
            namespace=application.namespace,
            service_account=application.service_account,
            revoked_at=seconds(now),
        )
        adding = adding.on_conflict_do_nothing()

        def revoke(connection: Connection) -> tuple[Revoked, bool]:
            known = _is_known(connection, application)
            if not known and not ahead:
                return Revoked(0, known=False), False
            new = connection.execute(adding.returning(revoked_applications.c.namespace)).first() is not None
            forgotten = forget_secrets(connection, _is_of(secrets, application), now)
            of_it = select(secrets.c.id).where(_is_of(secrets, application))
            done = Revoked(self._revoke(connection, issuances.c.secret_id.in_(of_it), now), known)
            return done, new or forgotten

        return await self._recorded(revoke, records)

    async def reinstate_application(self, application: Application, *records: Record) -> bool:
        """Allows the application secrets again; revoked certificates stay revoked. Returns whether it was
        revoked."""
        statement = delete(revoked_applications).where(_is_of(revoked_applications, application))
        return await self._access.change(
            lambda connection: connection.execute(statement).rowcount == 1, *records
        )

    async def knows_application(self, application: Application) -> bool:
        """Whether the application was registered, was revoked, or ever had a secret."""
        return await self._access.count(lambda connection: _is_known(connection, application))

    async def _revoke_found(
        self, condition: ColumnElement[bool], now: datetime, records: Sequence[Record]
    ) -> Revoked:
        def revoke(connection: Connection) -> tuple[Revoked, bool]:
            live = and_(condition, issuances.c.not_after > seconds(now))
            found = set(connection.scalars(select(issuances.c.pod_uid).where(live).distinct()))
            self._refuse(connection, found, now, gone=False)
            parts = [issuances.c.pod_uid.in_(part) for part in _parts(found)]
            certificates = sum(self._revoke(connection, of_part, now) for of_part in parts)
            return Revoked(certificates, bool(found)), bool(found)

        return await self._recorded(revoke, records)

    async def _recorded(
        self, work: Callable[[Connection], tuple[Revoked, bool]], records: Sequence[Record]
    ) -> Revoked:
        """The result of `work`, while no issuance is recorded. If it changed anything, the records are added,
        with the number of certificates."""

        def revoke(connection: Connection) -> Revoked:
            hold_off_issuing(connection)
            done, changed = work(connection)
            if changed or done.certificates:
                complete = [one.saying(certificates=done.certificates) for one in records]
                self._access.append(connection, *complete)
            return done

        return await self._access.write(revoke)

    def _refuse(
        self, connection: Connection, pod_uids: Collection[str], now: datetime, *, gone: bool
    ) -> list[str]:
        """Refuses these pods; returns those that were not refused before."""
        rows = [{"pod_uid": uid, "revoked_at": seconds(now), "gone": int(gone)} for uid in sorted(pod_uids)]
        if not rows:
            return []
        adding = self._access.insert(revoked_replicas).on_conflict_do_nothing()
        return sorted(connection.scalars(adding.returning(revoked_replicas.c.pod_uid), rows))

    def _revoke(self, connection: Connection, condition: ColumnElement[bool], now: datetime) -> int:
        """Puts the valid certificates on the lists; returns how many were new there."""
        columns = ["issuer", "issuing_key", "serial", "revoked_at", "not_after"]
        found = select(
            issuances.c.issuer,
            issuances.c.issuing_key,
            issuances.c.serial,
            literal(seconds(now)),
            issuances.c.not_after,
        ).where(condition, issuances.c.not_after > seconds(now), issuances.c.serial.is_not(None))
        adding = self._access.insert(revoked_certificates).from_select(columns, found)
        # The returned rows are counted, because not every driver knows the row count of such a statement.
        adding = adding.on_conflict_do_nothing().returning(revoked_certificates.c.serial)
        added = len(connection.execute(adding).all())
        if added:
            number = next_number(now)
            connection.execute(
                update(revocation_state).values(
                    number=number, last_revocation=number, published_at=seconds(now)
                )
            )
        return added


def _gone(connection: Connection, pod_uids: Collection[str], now: datetime, record: Record) -> list[Record]:
    """A record for each of these pods with certificates that are not revoked yet."""
    valid = case((issuances.c.not_after > seconds(now), 1), else_=0)
    of_pod = (issuances.c.pod_uid, issuances.c.pod_name, secrets.c.namespace, secrets.c.service_account)
    statement = (
        select(*of_pod, func.sum(valid).label("certificates"))
        .join(secrets, secrets.c.id == issuances.c.secret_id)
        .where(issuances.c.pod_uid.in_(pod_uids))
        .group_by(*of_pod)
        .order_by(*of_pod)
    )
    return [
        record.saying(
            uid=row.pod_uid,
            pod=row.pod_name,
            namespace=row.namespace,
            serviceAccount=row.service_account,
            certificates=int(row.certificates),
        )
        for row in connection.execute(statement)
    ]


def _is_known(connection: Connection, application: Application) -> bool:
    tables = (secrets, applications, revoked_applications)
    return any(exists(connection, _is_of(table, application)) for table in tables)


def exists(connection: Connection, condition: ColumnElement[bool]) -> bool:
    """Whether any row matches."""
    return connection.execute(select(literal(1)).where(condition).limit(1)).first() is not None


def forget_secrets(connection: Connection, condition: ColumnElement[bool], now: datetime) -> bool:
    """Forgets the secrets that match `condition`; returns whether there were any."""
    forgetting = update(secrets).where(condition, secrets.c.forgotten_at.is_(None))
    return connection.execute(forgetting.values(forgotten_at=seconds(now))).rowcount > 0


_REVOKED_AMONG = select(revoked_replicas.c.pod_uid).where(
    revoked_replicas.c.pod_uid.in_(bindparam("pods", expanding=True))
)


def revoked_among(connection: Connection, pod_uids: Collection[str]) -> set[str]:
    """Those of these pods that may no longer get certificates."""
    return set(connection.scalars(_REVOKED_AMONG, {"pods": list(set(pod_uids))}))


def is_revoked(connection: Connection, application: Application) -> bool:
    """Whether the application may get no secret."""
    statement = select(revoked_applications.c.revoked_at).where(_is_of(revoked_applications, application))
    return connection.execute(statement).first() is not None


def _parts(pod_uids: Collection[str]) -> list[list[str]]:
    ordered = sorted(pod_uids)
    return [ordered[at : at + _PODS_AT_ONCE] for at in range(0, len(ordered), _PODS_AT_ONCE)]


def _is_of(table: Table, application: Application) -> ColumnElement[bool]:
    return and_(
        table.c.namespace == application.namespace, table.c.service_account == application.service_account
    )
