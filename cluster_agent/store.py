"""What the cluster agent remembers: secrets by fingerprint, and what was issued. Never a usable secret.

SQLite in WAL mode with synchronous=FULL: what was answered survives `kill -9` and a power cut
(https://sqlite.org/pragma.html#pragma_synchronous). One thread owns the connection, so calls queue
there and the event loop never waits for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cluster_agent.applications import Application
from cluster_agent.errors import DataDirectoryError
from cluster_agent.issuing_policy import Issuance, Secret

_T = TypeVar("_T")
_VERSION = 1
_SCHEMA = """
CREATE TABLE secrets (
  id TEXT PRIMARY KEY,
  namespace TEXT NOT NULL,
  service_account TEXT NOT NULL,
  certificate_fingerprint TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  forgotten_at INTEGER
) STRICT;
CREATE TABLE issuances (
  certificate_fingerprint TEXT PRIMARY KEY,
  secret_id TEXT NOT NULL REFERENCES secrets (id),
  pod_name TEXT NOT NULL,
  pod_uid TEXT NOT NULL,
  public_key_fingerprint TEXT NOT NULL UNIQUE,
  not_after INTEGER NOT NULL
) STRICT;
CREATE INDEX issuances_not_after ON issuances (not_after);
"""
_COLUMNS = (
    "id, namespace, service_account, certificate_fingerprint, created_at, not_after, forgotten_at IS NOT NULL"
)


class KeyAlreadyIssued(Exception):
    """The public key was certified before: renewals come with a new key each time."""


class SecretForgotten(Exception):
    """The secret was forgotten meanwhile: nothing may be issued for it."""


class SqliteStore:
    """The store in one file. Times are kept as whole seconds since the epoch, UTC."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises DataDirectoryError when it is no store of ours."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._connection = self._executor.submit(_open, path).result()

    async def close(self) -> None:
        await self._run(lambda connection: connection.close())
        self._executor.shutdown()

    async def add_secret(self, secret: Secret) -> None:
        """Durable when it returns."""
        row = (
            secret.id,
            secret.application.namespace,
            secret.application.service_account,
            secret.certificate_fingerprint,
            _seconds(secret.created_at),
            _seconds(secret.not_after),
        )

        def insert(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("INSERT INTO secrets VALUES (?, ?, ?, ?, ?, ?, NULL)", row)

        await self._run(insert)

    async def forget_secret(self, secret_id: str, now: datetime) -> bool:
        """Durable when it returns. Answers whether there was one to forget."""

        def update(connection: sqlite3.Connection) -> bool:
            with connection:
                cursor = connection.execute(
                    "UPDATE secrets SET forgotten_at = ? WHERE id = ? AND forgotten_at IS NULL",
                    (_seconds(now), secret_id),
                )
            return cursor.rowcount == 1

        return await self._run(update)

    async def secret(self, secret_id: str) -> Secret | None:
        return await self._secret_where("id = ?", secret_id)

    async def secret_of_certificate(self, certificate_fingerprint: str) -> Secret | None:
        return await self._secret_where("certificate_fingerprint = ?", certificate_fingerprint)

    async def live_secrets(self, now: datetime) -> list[Secret]:
        """Those neither forgotten nor expired, oldest first."""

        def select(connection: sqlite3.Connection) -> list[Secret]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM secrets"  # noqa: S608 - a constant of this file
                " WHERE forgotten_at IS NULL AND not_after > ? ORDER BY created_at, id",
                (_seconds(now),),
            )
            return [_secret(row) for row in rows]

        return await self._run(select)

    async def issuance(self, certificate_fingerprint: str) -> Issuance | None:
        def select(connection: sqlite3.Connection) -> Issuance | None:
            row = connection.execute(
                "SELECT certificate_fingerprint, secret_id, pod_name, pod_uid, public_key_fingerprint,"
                " not_after FROM issuances WHERE certificate_fingerprint = ?",
                (certificate_fingerprint,),
            ).fetchone()
            return None if row is None else _issuance(row)

        return await self._run(select)

    async def add_issuance(self, issuance: Issuance) -> None:
        """Durable when it returns. Raises KeyAlreadyIssued; SecretForgotten when that came first."""
        row = (
            issuance.certificate_fingerprint,
            issuance.pod_name,
            issuance.pod_uid,
            issuance.public_key_fingerprint,
            _seconds(issuance.not_after),
            issuance.secret_id,
        )

        def insert(connection: sqlite3.Connection) -> None:
            try:
                with connection:
                    cursor = connection.execute(
                        "INSERT INTO issuances SELECT ?, id, ?, ?, ?, ? FROM secrets"
                        " WHERE id = ? AND forgotten_at IS NULL",
                        row,
                    )
            except sqlite3.IntegrityError as error:
                raise KeyAlreadyIssued from error
            if cursor.rowcount != 1:
                raise SecretForgotten

        await self._run(insert)

    async def drop_expired_issuances(self, now: datetime) -> int:
        """Removes records of certificates that can no longer be presented; answers how many."""

        def delete(connection: sqlite3.Connection) -> int:
            with connection:
                return connection.execute(
                    "DELETE FROM issuances WHERE not_after < ?", (_seconds(now),)
                ).rowcount

        return await self._run(delete)

    async def _secret_where(self, condition: str, value: str) -> Secret | None:
        def select(connection: sqlite3.Connection) -> Secret | None:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM secrets WHERE {condition}",  # noqa: S608 - constants of this file
                (value,),
            ).fetchone()
            return None if row is None else _secret(row)

        return await self._run(select)

    async def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, self._connection)


def _open(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            # executescript() would commit half of it; one transaction keeps a killed first start harmless.
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        elif version != _VERSION:
            raise DataDirectoryError(
                f"{path} has schema version {version}, this program knows {_VERSION}; "
                "run the version that wrote it"
            )
    except sqlite3.Error as error:
        raise DataDirectoryError(f"cannot use {path} as the store: {error}") from error
    return connection


def _secret(row: tuple[str, str, str, str, int, int, int]) -> Secret:
    identifier, namespace, service_account, certificate_fingerprint, created_at, not_after, forgotten = row
    return Secret(
        id=identifier,
        application=Application(namespace, service_account),
        certificate_fingerprint=certificate_fingerprint,
        created_at=_datetime(created_at),
        not_after=_datetime(not_after),
        forgotten=bool(forgotten),
    )


def _issuance(row: tuple[str, str, str, str, str, int]) -> Issuance:
    certificate_fingerprint, secret_id, pod_name, pod_uid, public_key_fingerprint, not_after = row
    return Issuance(
        certificate_fingerprint=certificate_fingerprint,
        secret_id=secret_id,
        pod_name=pod_name,
        pod_uid=pod_uid,
        public_key_fingerprint=public_key_fingerprint,
        not_after=_datetime(not_after),
    )


def _seconds(time: datetime) -> int:
    return int(time.timestamp())


def _datetime(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
