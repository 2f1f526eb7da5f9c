"""The content of the revocation lists, and their number.

A revoked certificate stays on the lists until it expires. One number counts the publications of all lists
together: every replica of the agent makes the same lists with the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, case, delete, or_, select, update

from cluster_agent.store.access import Access, from_seconds, seconds
from cluster_agent.store.tables import issuers, revocation_state, revoked_certificates, revoked_replicas

# A pod that is gone can present a token only as long as an API server caches it.
_GONE_REPLICAS_KEPT = timedelta(hours=25)
# The clocks of several replicas may differ by this much. Lists are backdated by as much.
CLOCKS_DIFFER = timedelta(seconds=60)


@dataclass(frozen=True, order=True)
class Issuer:
    """The issuer of a list: an application's name, and the fingerprint of the key that signs for it."""

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
    """The published revocations. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def state(self) -> Published:
        """The current publication."""
        (row,) = await self._access.read(select(revocation_state))
        return Published(row.number, from_seconds(row.published_at), row.last_revocation)

    async def publish_if_older(self, age: timedelta, now: datetime) -> None:
        """Increments the number when nothing was published for that long, or when the lists were published
        by a clock that was ahead: no verifier accepts them yet."""
        published_at = revocation_state.c.published_at
        statement = (
            update(revocation_state)
            .where(or_(published_at <= seconds(now - age), published_at > seconds(now + CLOCKS_DIFFER)))
            .values(number=next_number(now), published_at=seconds(now))
        )
        await self._access.write(lambda connection: connection.execute(statement))

    async def certificates(self, since: datetime) -> list[RevokedCertificate]:
        """The certificates that were revoked and not expired at `since`, ordered by serial number."""
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
        """The issuers with certificates that had not expired at `since`."""
        statement = select(issuers.c.name, issuers.c.issuing_key).where(issuers.c.not_after >= seconds(since))
        return sorted(Issuer(*row) for row in await self._access.read(statement))

    async def drop_expired(self, before: datetime, now: datetime) -> None:
        """Removes revocations that are on no list any longer, because the certificates expired before
        `before`."""

        def drop(connection: Connection) -> None:
            for table in (revoked_certificates, issuers):
                connection.execute(delete(table).where(table.c.not_after < seconds(before)))
            gone = revoked_replicas.c.revoked_at < seconds(now - _GONE_REPLICAS_KEPT)
            connection.execute(delete(revoked_replicas).where(revoked_replicas.c.gone == 1, gone))

        await self._access.write(drop)


def next_number(now: datetime | None) -> ColumnElement[int]:
    """The number of the next publication, at `now`; None means before everything."""
    following, at = revocation_state.c.number + 1, 0 if now is None else seconds(now)
    return case((following > at, following), else_=at)


def publish_anew(connection: Connection, now: datetime | None) -> None:
    """Increments the number: there is a new list that every replica should get."""
    connection.execute(update(revocation_state).values(number=next_number(now)))
