"""What entitles an application's pods to certificates by PodCertificateRequest: a row of the table of secrets
without a credential, so that inventory, revocation and audit treat both kinds of replicas alike.

It is made at an application's first request, forgotten when the application is revoked, and removed when none
of its certificates is left: a tenant makes as many as it makes service accounts.
"""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Delete, bindparam, delete, exists, select, tuple_

from cluster_agent.audit.records import Record
from cluster_agent.model import Application, Secret
from cluster_agent.store.access import Access, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.locks import hold_off_issuing, hold_off_revocations
from cluster_agent.store.recently_read import RecentlyRead
from cluster_agent.store.revocations import is_revoked
from cluster_agent.store.secrets import secret_of
from cluster_agent.store.tables import VOLUME, issuances, secrets

# It ends when it is forgotten.
_NO_END = datetime(9998, 12, 31, tzinfo=UTC)
# So long after it was made, or until its last certificate ends, an administrator can revoke an application
# that has no Pods without stating that it is meant ahead.
KEPT = timedelta(days=1)
_DROPPED_AT_ONCE = 500


class Entitlements:
    """Every call may raise Unavailable, and TooManyRequests."""

    def __init__(self, access: Access, monotonic: Callable[[], float]) -> None:
        self._access = access
        self._monotonic = monotonic
        self.asked = Batches(access.reader, self._of_applications)
        self._recent = RecentlyRead[Secret](monotonic, lambda: access.writes)

    async def of(self, application: Application) -> Secret | None:
        """The application's entitlement, at most a second old, if it has one: `Issuances.add` checks again
        whether it was forgotten since."""
        key = str(application)
        recent = self._recent.get(key)
        if recent is not None:
            return recent
        writes, at = self._access.writes, self._monotonic()
        found = await self.asked.submit(application, (application.namespace, application.service_account))
        if found is not None:
            self._recent.keep(key, found, writes=writes, at=at)
        return found

    async def make(self, application: Application, now: datetime, record: Record) -> bool:
        """Entitles the application, unless it is already. Returns whether it may be: not when it was
        revoked."""
        identifier = randomness.token_hex(16)
        row = {
            "id": identifier,
            "namespace": application.namespace,
            "service_account": application.service_account,
            # No certificate has this fingerprint.
            "certificate_fingerprint": f"{VOLUME}:{identifier}",
            "created_at": seconds(now),
            "not_after": seconds(_NO_END),
            "delivery": VOLUME,
        }
        adding = self._access.insert(secrets).on_conflict_do_nothing().returning(secrets.c.id)

        def make(connection: Connection) -> bool:
            hold_off_revocations(connection)
            if is_revoked(connection, application):
                return False
            if connection.scalars(adding, [row]).all():
                self._access.append(connection, record.saying(id=identifier))
            return True

        return await self._access.write(make)

    async def in_use(self, now: datetime) -> list[Secret]:
        """Those under which there are certificates that have not ended, by namespace."""
        in_use = exists().where(issuances.c.secret_id == secrets.c.id, issuances.c.not_after > seconds(now))
        statement = (
            select(secrets)
            .where(secrets.c.delivery == VOLUME, secrets.c.forgotten_at.is_(None), in_use)
            .order_by(secrets.c.namespace, secrets.c.service_account)
        )
        return [secret_of(row) for row in await self._access.read(statement)]

    async def drop_unused(self, now: datetime) -> int:
        """Removes those without a certificate; returns how many. A Pod that asks again has its application
        entitled again. It works in parts, so that issuing never waits long for it."""
        made_before = {"before": seconds(now - KEPT)}

        def drop(connection: Connection) -> int:
            # Otherwise a certificate that is being recorded would be missed.
            hold_off_issuing(connection)
            return connection.execute(_DROP_UNUSED, made_before).rowcount

        return await self._access.drop_in_parts(drop, _DROPPED_AT_ONCE)

    def _of_applications(self, some: Sequence[Application]) -> Sequence[Secret | None]:
        keys = {(one.namespace, one.service_account) for one in some}
        rows = self._access.rows(_OF_APPLICATIONS, {"keys": list(keys)})
        found = {one.application: one for one in map(secret_of, rows)}
        return [found.get(one) for one in some]


# Made once, because making a statement costs as much as executing it.
_OF_APPLICATIONS = select(secrets).where(
    tuple_(secrets.c.namespace, secrets.c.service_account).in_(bindparam("keys", expanding=True)),
    secrets.c.delivery == VOLUME,
    secrets.c.forgotten_at.is_(None),
)


def drop_unused(most: int) -> Delete:
    """The statement that removes at most so many of those that were made before `before`, and have no
    certificate."""
    unused = (
        select(secrets.c.id)
        .where(
            secrets.c.delivery == VOLUME,
            secrets.c.created_at < bindparam("before"),
            ~exists().where(issuances.c.secret_id == secrets.c.id),
        )
        .limit(most)
    )
    return delete(secrets).where(secrets.c.id.in_(unused))


_DROP_UNUSED = drop_unused(_DROPPED_AT_ONCE)
