"""The store's calls. One thread writes and one reads, so the event loop never waits for the database; what
comes while they are busy is handed over together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Connection, Row, Select, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.applications import Application
from cluster_agent.errors import StoreError, Unavailable
from cluster_agent.issuing_policy import Issuance, Secret
from cluster_agent.store.batches import Batches
from cluster_agent.store.database import Database, connect, database_url
from cluster_agent.store.leadership import Leadership
from cluster_agent.store.migration import migrate
from cluster_agent.store.tables import authority_keys, issuances, secrets

_T = TypeVar("_T")
MOST_WAITING = 512
_DROPPED_AT_ONCE = 5000


class KeyAlreadyIssued(Exception):
    """The public key was certified before: renewals come with a new key each time."""


class SecretForgotten(Exception):
    """The secret was forgotten meanwhile: nothing may be issued for it."""


def open_store(url: str) -> Store:
    """The store at `url`, its schema brought up to date. Raises StoreError, SettingsError."""
    database = connect(database_url(url))
    try:
        migrate(database)
    except StoreError:
        database.dispose()
        raise
    return Store(database)


class Store:
    """Every call may raise Unavailable when the database does not answer, and TooManyRequests."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leadership = Leadership(database)
        self._insert = (postgresql if database.is_shared else sqlite).insert
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-writer")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")
        self._issuing = Batches(self._writer, self._add_issuances, most_waiting=MOST_WAITING)
        self._secrets = Batches(self._reader, self._secrets_of_certificates, most_waiting=MOST_WAITING)
        self._renewals = Batches(self._reader, self._issuances_with_secrets, most_waiting=MOST_WAITING)

    async def close(self) -> None:
        """Waits for what is under way."""
        for batches in (self._issuing, self._secrets, self._renewals):
            await batches.idle()
        await asyncio.get_running_loop().run_in_executor(self._writer, self._leadership.resign)
        self._writer.shutdown()
        self._reader.shutdown()
        self._database.dispose()

    async def claim_authority(self, fingerprints: Mapping[str, str]) -> None:
        """Makes the database that of the keys with these fingerprints, by role, if it is nobody's yet.

        Raises StoreError when it is that of others: two replicas with different keys would not
        accept each other's credentials.
        """

        def claim(connection: Connection) -> dict[str, str]:
            rows = [{"role": role, "fingerprint": value} for role, value in sorted(fingerprints.items())]
            connection.execute(self._insert(authority_keys).on_conflict_do_nothing(), rows)
            return {row.role: row.fingerprint for row in connection.execute(select(authority_keys))}

        known = await self._write(claim)
        for role, value in fingerprints.items():
            if known[role] != value:
                raise StoreError(
                    f"this database belongs to a cluster agent whose {role} key is {known[role]}, ours is "
                    f"{value}; give every replica the same keys, or use another database"
                )

    async def add_secret(self, secret: Secret) -> None:
        """Durable when it returns."""
        row = {
            "id": secret.id,
            "namespace": secret.application.namespace,
            "service_account": secret.application.service_account,
            "certificate_fingerprint": secret.certificate_fingerprint,
            "created_at": _seconds(secret.created_at),
            "not_after": _seconds(secret.not_after),
        }
        await self._write(lambda connection: connection.execute(insert(secrets), row))

    async def forget_secret(self, secret_id: str, now: datetime) -> bool:
        """Durable when it returns. Answers whether there was one to forget."""
        statement = (
            update(secrets)
            .where(secrets.c.id == secret_id, secrets.c.forgotten_at.is_(None))
            .values(forgotten_at=_seconds(now))
        )
        return await self._write(lambda connection: connection.execute(statement).rowcount == 1)

    async def secret_of_certificate(self, certificate_fingerprint: str) -> Secret | None:
        return await self._secrets.submit(certificate_fingerprint)

    async def issuance_with_secret(self, certificate_fingerprint: str) -> tuple[Issuance, Secret] | None:
        """What was issued with that certificate, and the secret that it was issued under."""
        return await self._renewals.submit(certificate_fingerprint)

    async def live_secrets(self, now: datetime) -> list[Secret]:
        """Those neither forgotten nor expired, oldest first."""
        statement = (
            select(secrets)
            .where(secrets.c.forgotten_at.is_(None), secrets.c.not_after > _seconds(now))
            .order_by(secrets.c.created_at, secrets.c.id)
        )
        rows = await asyncio.get_running_loop().run_in_executor(self._reader, self._rows, statement)
        return [_secret(row) for row in rows]

    async def add_issuance(self, issuance: Issuance) -> None:
        """Durable when it returns. Raises KeyAlreadyIssued; SecretForgotten when that came first."""
        refusal = await self._issuing.submit(issuance)
        if refusal is not None:
            raise refusal

    async def drop_expired_issuances(self, now: datetime) -> int:
        """Removes records of certificates that can no longer be presented; answers how many. In parts, so
        that issuing never waits long for it."""
        expired = (
            select(issuances.c.certificate_fingerprint)
            .where(issuances.c.not_after < _seconds(now))
            .limit(_DROPPED_AT_ONCE)
        )
        statement = delete(issuances).where(issuances.c.certificate_fingerprint.in_(expired))
        dropped = 0
        while True:
            part = await self._write(lambda connection: connection.execute(statement).rowcount)
            dropped += part
            if part < _DROPPED_AT_ONCE:
                return dropped

    async def lead(self) -> bool:
        """Whether this replica is the one that does the housekeeping now."""
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._available(self._leadership.lead)
        )

    def _add_issuances(
        self, batch: Sequence[Issuance]
    ) -> Sequence[KeyAlreadyIssued | SecretForgotten | None]:
        live, added = self._available(
            lambda: self._transaction(lambda connection: self._record(connection, batch))
        )
        return [
            SecretForgotten()
            if one.secret_id not in live
            else None
            if one.certificate_fingerprint in added
            else KeyAlreadyIssued()
            for one in batch
        ]

    def _record(self, connection: Connection, batch: Sequence[Issuance]) -> tuple[set[str], set[str]]:
        """Records what may be; answers the secrets that are not forgotten, and the certificates recorded."""
        # The lock makes ForgetSecret wait: what is recorded was recorded before it.
        ids = sorted({one.secret_id for one in batch})
        live = set(connection.scalars(_LIVE_SECRETS.where(secrets.c.id.in_(ids))))
        # In this order two replicas that are asked to certify the same keys wait for each other in turn.
        ordered = sorted(batch, key=lambda one: one.public_key_fingerprint)
        rows = [_issuance_row(one) for one in ordered if one.secret_id in live]
        if not rows:
            return live, set()
        adding = self._insert(issuances).on_conflict_do_nothing()
        return live, set(connection.scalars(adding.returning(issuances.c.certificate_fingerprint), rows))

    def _secrets_of_certificates(self, fingerprints: Sequence[str]) -> Sequence[Secret | None]:
        rows = self._rows(select(secrets).where(secrets.c.certificate_fingerprint.in_(set(fingerprints))))
        found = {row.certificate_fingerprint: _secret(row) for row in rows}
        return [found.get(one) for one in fingerprints]

    def _issuances_with_secrets(
        self, fingerprints: Sequence[str]
    ) -> Sequence[tuple[Issuance, Secret] | None]:
        # Two questions, because both tables have a column of the same name and meaning.
        rows = self._rows(select(issuances).where(issuances.c.certificate_fingerprint.in_(set(fingerprints))))
        earlier = {row.certificate_fingerprint: _issuance(row) for row in rows}
        ids = {one.secret_id for one in earlier.values()}
        known = {row.id: _secret(row) for row in self._rows(select(secrets).where(secrets.c.id.in_(ids)))}
        return [
            (earlier[one], known[earlier[one].secret_id]) if one in earlier else None for one in fingerprints
        ]

    async def _write(self, work: Callable[[Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._available(lambda: self._transaction(work))
        )

    def _transaction(self, work: Callable[[Connection], _T]) -> _T:
        with self._database.writing.begin() as connection:
            return work(connection)

    def _rows(self, statement: Select[*tuple[object, ...]]) -> Sequence[Row[*tuple[object, ...]]]:
        def read() -> Sequence[Row[*tuple[object, ...]]]:
            with self._database.reading.connect() as connection:
                return connection.execute(statement).all()

        return self._available(read)

    def _available(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except SQLAlchemyError as error:
            # The statement and its values stay out of the message, which goes to the caller.
            raise Unavailable(
                "StoreUnavailable", f"the store does not answer: {type(error).__name__}"
            ) from error


_LIVE_SECRETS = (
    select(secrets.c.id)
    .where(secrets.c.forgotten_at.is_(None))
    .order_by(secrets.c.id)
    .with_for_update(read=True)
)


def _issuance_row(issuance: Issuance) -> dict[str, object]:
    return {
        "certificate_fingerprint": issuance.certificate_fingerprint,
        "secret_id": issuance.secret_id,
        "pod_name": issuance.pod_name,
        "pod_uid": issuance.pod_uid,
        "public_key_fingerprint": issuance.public_key_fingerprint,
        "not_after": _seconds(issuance.not_after),
    }


def _secret(row: Row[*tuple[object, ...]]) -> Secret:
    return Secret(
        id=row.id,
        application=Application(row.namespace, row.service_account),
        certificate_fingerprint=row.certificate_fingerprint,
        created_at=_datetime(row.created_at),
        not_after=_datetime(row.not_after),
        forgotten=row.forgotten_at is not None,
    )


def _issuance(row: Row[*tuple[object, ...]]) -> Issuance:
    return Issuance(
        certificate_fingerprint=row.certificate_fingerprint,
        secret_id=row.secret_id,
        pod_name=row.pod_name,
        pod_uid=row.pod_uid,
        public_key_fingerprint=row.public_key_fingerprint,
        not_after=_datetime(row.not_after),
    )


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _datetime(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
