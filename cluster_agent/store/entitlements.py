"""What entitles an application's pods to certificates by PodCertificateRequest: a row of the table of secrets
without a credential, so that inventory, revocation and audit treat both kinds of replicas alike.

It is made at an application's first request, and forgotten when the application is revoked.
"""

from __future__ import annotations

import secrets as randomness
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select, tuple_

from cluster_agent.audit.records import Record
from cluster_agent.model import Application, Secret
from cluster_agent.store.access import Access, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.locks import hold_off_revocations
from cluster_agent.store.recently_read import RecentlyRead
from cluster_agent.store.revocations import is_revoked
from cluster_agent.store.secrets import secret_of
from cluster_agent.store.tables import VOLUME, secrets

# It ends when it is forgotten.
_NO_END = datetime(9998, 12, 31, tzinfo=UTC)


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
