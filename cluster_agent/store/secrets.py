"""The secrets that the cluster agent made, by the fingerprints of their certificates; never a usable
secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, bindparam, insert, literal, select, tuple_

from cluster_agent.audit.records import Record
from cluster_agent.fair_queue import Tenant
from cluster_agent.model import Application, Secret
from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.locks import hold_off_revocations
from cluster_agent.store.recently_read import RecentlyRead
from cluster_agent.store.revocations import exists, forget_secrets, is_revoked
from cluster_agent.store.tables import secrets


@dataclass(frozen=True)
class Place:
    """A place in the order of the secrets: that of the secret `id`, or the end of a whole namespace."""

    namespace: str
    id: str | None = None


class Secrets:
    """The table of secrets. Every call may raise Unavailable, and TooManyRequests."""

    def __init__(self, access: Access, monotonic: Callable[[], float]) -> None:
        self._access = access
        self._monotonic = monotonic
        self.asked = Batches(access.reader, self._of_certificates)
        self._recent = RecentlyRead[Secret](monotonic, lambda: access.writes)

    async def add(self, secret: Secret, *records: Record) -> bool:
        """Stores a secret, durably, and returns whether it did: not for a revoked application."""
        row = {
            "id": secret.id,
            "namespace": secret.application.namespace,
            "service_account": secret.application.service_account,
            "certificate_fingerprint": secret.certificate_fingerprint,
            "created_at": seconds(secret.created_at),
            "not_after": seconds(secret.not_after),
        }

        def add(connection: Connection) -> bool:
            hold_off_revocations(connection)
            if is_revoked(connection, secret.application):
                return False
            connection.execute(insert(secrets), row)
            self._access.append(connection, *records)
            return True

        return await self._access.write(add)

    async def forget(self, secret_id: str, now: datetime, *records: Record) -> bool:
        """Forgets a secret, durably, and returns whether it exists, forgotten or not."""
        of_it = secrets.c.id == secret_id

        def forget(connection: Connection) -> bool:
            if not forget_secrets(connection, of_it, now):
                return exists(connection, of_it)
            self._access.append(connection, *records)
            return True

        return await self._access.write(forget)

    async def of_certificate(self, certificate_fingerprint: str, tenant: Tenant = ()) -> Secret | None:
        """The secret, at most a second old: `Issuances.add` checks again whether it was forgotten since.
        `tenant` asks for it."""
        recent = self._recent.get(certificate_fingerprint)
        if recent is not None:
            return recent
        writes, at = self._access.writes, self._monotonic()
        secret = await self.asked.submit(certificate_fingerprint, tenant)
        if secret is not None:
            self._recent.keep(certificate_fingerprint, secret, writes=writes, at=at)
        return secret

    async def live(
        self,
        now: datetime,
        *,
        namespace: str | None = None,
        after: Place | None = None,
        limit: int | None = None,
    ) -> list[Secret]:
        """The secrets that are neither forgotten nor expired, of one namespace or of all; the first `limit`
        of those that follow the place `after`, by namespace and identifier."""
        statement = (
            select(secrets)
            .where(secrets.c.forgotten_at.is_(None), secrets.c.not_after > seconds(now))
            .where(secrets.c.delivery.is_(None))
            .order_by(secrets.c.namespace, secrets.c.id)
            .limit(limit)
        )
        if namespace is not None:
            statement = statement.where(secrets.c.namespace == namespace)
        if after is not None and after.id is None:
            statement = statement.where(secrets.c.namespace > after.namespace)
        elif after is not None:
            place = tuple_(secrets.c.namespace, secrets.c.id)
            statement = statement.where(place > tuple_(literal(after.namespace), literal(after.id)))
        return [secret_of(row) for row in await self._access.read(statement)]

    async def live_of(self, application: Application, now: datetime) -> list[Secret]:
        """The application's secrets that are neither forgotten nor expired."""
        statement = select(secrets).where(
            secrets.c.namespace == application.namespace,
            secrets.c.service_account == application.service_account,
            secrets.c.forgotten_at.is_(None),
            secrets.c.not_after > seconds(now),
        )
        return [secret_of(row) for row in await self._access.read(statement)]

    def _of_certificates(self, fingerprints: Sequence[str]) -> Sequence[Secret | None]:
        rows = self._access.rows(_OF_CERTIFICATES, {"certificates": list(set(fingerprints))})
        found = {row.certificate_fingerprint: secret_of(row) for row in rows}
        return [found.get(one) for one in fingerprints]


# Made once, because making a statement costs as much as executing it.
_OF_CERTIFICATES = select(secrets).where(
    secrets.c.certificate_fingerprint.in_(bindparam("certificates", expanding=True))
)


def secret_of(row: Row[*tuple[object, ...]]) -> Secret:
    """The secret in a row with the columns of its table."""
    of = row._mapping
    return Secret(
        id=of[secrets.c.id],
        application=Application(of[secrets.c.namespace], of[secrets.c.service_account]),
        certificate_fingerprint=of[secrets.c.certificate_fingerprint],
        created_at=from_seconds(of[secrets.c.created_at]),
        not_after=from_seconds(of[secrets.c.not_after]),
        forgotten=of[secrets.c.forgotten_at] is not None,
    )
