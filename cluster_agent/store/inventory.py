"""What the store knows of live replicas and of revocations, in pages, for administrators who look.

Each page is read in the thread that no call waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, func, literal, select, tuple_

from cluster_agent.model import Application
from cluster_agent.store.access import Access, from_seconds
from cluster_agent.store.fleet import is_live
from cluster_agent.store.tables import (
    VOLUME,
    acknowledgements,
    issuances,
    revoked_applications,
    revoked_replicas,
    secrets,
)


@dataclass(frozen=True)
class LiveReplica:
    """A replica with a valid certificate, of which this is the last; and the versions that it acknowledged,
    by kind of publication. `serial` and `issuer` are None for a certificate of version 0.1.0. A kubelet that
    keeps the certificate, `in_volume`, acknowledges nothing."""

    application: Application
    pod_name: str
    pod_uid: str
    secret_id: str
    serial: str | None
    issuer: str | None
    public_key_fingerprint: str
    not_after: datetime
    acknowledged: dict[str, int]
    in_volume: bool


@dataclass(frozen=True)
class RevokedReplica:
    """A pod that gets no certificate; `gone` when it was deleted. Its application and name are None when no
    certificate of it is recorded any longer."""

    pod_uid: str
    revoked_at: datetime
    gone: bool
    application: Application | None
    pod_name: str | None


@dataclass(frozen=True)
class RevokedApplication:
    """An application that gets no secret."""

    application: Application
    revoked_at: datetime


class Inventory:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def replicas(
        self,
        now: datetime,
        *,
        limit: int,
        after: str = "",
        namespace: str | None = None,
        pod_uid: str | None = None,
    ) -> Sequence[LiveReplica]:
        """The first `limit` live replicas whose pod UID is greater than `after`, in that order."""
        wanted = [is_live(now), issuances.c.pod_uid > after]
        if pod_uid is not None:
            wanted.append(issuances.c.pod_uid == pod_uid)
        if namespace is not None:
            wanted.append(secrets.c.namespace == namespace)
        of_secret = secrets.c.id == issuances.c.secret_id
        last = (
            select(issuances.c.pod_uid, func.max(issuances.c.not_after).label("end"))
            .join(secrets, of_secret)
            .where(*wanted)
            .group_by(issuances.c.pod_uid)
            .order_by(issuances.c.pod_uid)
            .limit(limit)
            .subquery()
        )
        statement = (
            select(issuances, secrets.c.namespace, secrets.c.service_account, secrets.c.delivery)
            .join(last, and_(last.c.pod_uid == issuances.c.pod_uid, last.c.end == issuances.c.not_after))
            .join(secrets, of_secret)
            .order_by(issuances.c.pod_uid, issuances.c.certificate_fingerprint)
        )

        def read(connection: Connection) -> Sequence[LiveReplica]:
            # A pod may have two certificates that end in the same second.
            rows = {row.pod_uid: row for row in connection.execute(statement)}
            have: dict[str, dict[str, int]] = {}
            stated = select(acknowledgements).where(acknowledgements.c.pod_uid.in_(list(rows)))
            for row in connection.execute(stated):
                have.setdefault(row.pod_uid, {})[row.kind] = row.version
            return [
                LiveReplica(
                    Application(row.namespace, row.service_account),
                    row.pod_name,
                    row.pod_uid,
                    row.secret_id,
                    row.serial,
                    row.issuer,
                    row.public_key_fingerprint,
                    from_seconds(row.not_after),
                    have.get(row.pod_uid, {}),
                    row.delivery == VOLUME,
                )
                for row in rows.values()
            ]

        return await self._access.count(read)

    async def revoked_applications(
        self, *, limit: int, after: Application | None = None
    ) -> Sequence[RevokedApplication]:
        """The first `limit` revoked applications after that one, by namespace and service account."""
        key = (revoked_applications.c.namespace, revoked_applications.c.service_account)
        statement = select(revoked_applications).order_by(*key).limit(limit)
        if after is not None:
            place = tuple_(literal(after.namespace), literal(after.service_account))
            statement = statement.where(tuple_(*key) > place)

        def read(connection: Connection) -> Sequence[RevokedApplication]:
            return [
                RevokedApplication(
                    Application(row.namespace, row.service_account), from_seconds(row.revoked_at)
                )
                for row in connection.execute(statement)
            ]

        return await self._access.count(read)

    async def revoked_replicas(
        self, *, limit: int, after: str = "", gone: bool = False
    ) -> Sequence[RevokedReplica]:
        """The first `limit` revoked replicas whose pod UID is greater than `after`, in that order.

        With `gone` also those that were revoked because their pods were deleted.
        """
        statement = (
            select(revoked_replicas)
            .where(revoked_replicas.c.pod_uid > after)
            .order_by(revoked_replicas.c.pod_uid)
            .limit(limit)
        )
        if not gone:
            statement = statement.where(revoked_replicas.c.gone == 0)

        def read(connection: Connection) -> Sequence[RevokedReplica]:
            rows = connection.execute(statement).all()
            names = (
                select(
                    issuances.c.pod_uid,
                    issuances.c.pod_name,
                    secrets.c.namespace,
                    secrets.c.service_account,
                )
                .join(secrets, secrets.c.id == issuances.c.secret_id)
                .where(issuances.c.pod_uid.in_([row.pod_uid for row in rows]))
                .distinct()
            )
            known = {row.pod_uid: row for row in connection.execute(names)}
            return [
                RevokedReplica(
                    row.pod_uid,
                    from_seconds(row.revoked_at),
                    bool(row.gone),
                    Application(of.namespace, of.service_account) if of else None,
                    of.pod_name if of else None,
                )
                for row in rows
                for of in [known.get(row.pod_uid)]
            ]

        return await self._access.count(read)
