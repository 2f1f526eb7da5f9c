"""What the revocation lists say, and their number.

A certificate that was revoked is on the lists until it expired. The number counts what was published, for all
lists together: every replica of the agent makes the same lists of the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, update

from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.tables import issuers, revocation_state, revoked_certificates, revoked_replicas

# A pod that is gone can show a token only as long as somebody has it cached.
_GONE_REPLICAS_KEPT = timedelta(hours=25)


@dataclass(frozen=True)
class Issuer:
    """Whose list it is: an application's name, and the fingerprint of the key that signs for it."""

    name: str
    issuing_key: str


@dataclass(frozen=True)
class RevokedCertificate:
    """An entry of a list. `serial` is in hex."""

    issuer: Issuer
    serial: str
    revoked_at: datetime
    not_after: datetime


@dataclass(frozen=True)
class Published:
    """`number` of the lists, when they were published, and the number of the last revocation in them."""

    number: int
    at: datetime
    last_revocation: int


class PublishedRevocations:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def state(self) -> Published:
        """What is current."""
        ((number, at, last_revocation),) = await self._access.read(
            select(
                revocation_state.c.number,
                revocation_state.c.published_at,
                revocation_state.c.last_revocation,
            )
        )
        return Published(number, from_seconds(at), last_revocation)

    async def publish_if_older(self, age: timedelta, now: datetime) -> None:
        """Counts the number on, when nothing was published for that long. One of several replicas does."""
        statement = (
            update(revocation_state)
            .where(revocation_state.c.published_at <= seconds(now - age))
            .values(number=revocation_state.c.number + 1, published_at=seconds(now))
        )
        await self._access.write(lambda connection: connection.execute(statement))

    async def certificates(self, since: datetime) -> list[RevokedCertificate]:
        """Those that were revoked and not expired at `since`, in the order of their serial numbers."""
        statement = (
            select(revoked_certificates)
            .where(revoked_certificates.c.not_after >= seconds(since))
            .order_by(revoked_certificates.c.serial)
        )
        return [
            RevokedCertificate(
                Issuer(row.issuer, row.issuing_key),
                row.serial,
                from_seconds(row.revoked_at),
                from_seconds(row.not_after),
            )
            for row in await self._access.count(lambda connection: connection.execute(statement).all())
        ]

    async def issuers(self, since: datetime) -> list[Issuer]:
        """Whose certificates may be about that were not expired at `since`."""
        statement = select(issuers.c.name, issuers.c.issuing_key).where(issuers.c.not_after >= seconds(since))
        return sorted(
            (Issuer(name, key) for name, key in await self._access.read(statement)),
            key=lambda one: (one.name, one.issuing_key),
        )

    async def drop_expired(self, before: datetime, now: datetime) -> None:
        """Removes what no list says any more, when it expired before `before`."""

        def drop(connection: Connection) -> None:
            for table in (revoked_certificates, issuers):
                connection.execute(delete(table).where(table.c.not_after < seconds(before)))
            gone = revoked_replicas.c.revoked_at < seconds(now - _GONE_REPLICAS_KEPT)
            connection.execute(delete(revoked_replicas).where(revoked_replicas.c.gone == 1, gone))

        await self._access.write(drop)


def publish_anew(connection: Connection) -> None:
    """Counts the number on: there is a list more, which everybody should get."""
    connection.execute(update(revocation_state).values(number=revocation_state.c.number + 1))
