"""The program that replaces a cluster agent's keys and store by the backup on standard input, while no agent
runs: `python -m cluster_agent.backup.restoration < backup.tar`.

On SQLite the previous files are kept beside the new ones, as `data.before`. When a crash falls between the
two renames, there is no `data`: restore again, or rename `data.before` back, before the agent starts. In
PostgreSQL all of it is one transaction.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.backup.archive import ABOUT, COMPLETE, KEYS, ROWS, VERSION
from cluster_agent.backup.kept import Ended, keep
from cluster_agent.backup.places import Places
from cluster_agent.errors import ClusterAgentError, StoreError
from cluster_agent.store.database import SQLITE, Database, connect, database_url, unusable
from cluster_agent.store.locks import Leadership, lock_for_migration
from cluster_agent.store.migration import migrate, upgrade
from cluster_agent.store.sole_use import sole_use
from cluster_agent.store.tables import METADATA
from service.errors import SettingsError


class NoBackupError(ClusterAgentError):
    """What is on standard input is no backup, or not all of one."""


def main() -> None:
    """Exits with 1 when nothing was restored."""
    parser = argparse.ArgumentParser(prog="restoration", description=__doc__)
    parser.add_argument("--bytes", type=int, help="length of the archive, when standard input has no end")
    parser.add_argument("--sha256", help="digest of the archive, in hex")
    given = parser.parse_args()
    try:
        for line in restore(Places.of_environment(), Incoming(sys.stdin.buffer, given.bytes, given.sha256)):
            sys.stdout.write(f"{line}\n")
    except (ClusterAgentError, SettingsError, OSError) as error:
        sys.exit(f"nothing was restored: {error}")


class Incoming:
    """An archive as it comes in: of so many bytes, with that digest."""

    def __init__(self, source: IO[bytes], length: int | None, digest: str | None) -> None:
        self._source, self._left, self._digest = source, length, digest
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._source.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(content)
        self._hash.update(content)
        return content

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Each member's name and content. Raises NoBackupError at the end of what is no whole archive."""
        last = ""
        try:
            with tarfile.open(fileobj=self, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    if content := archive.extractfile(member):
                        last = member.name
                        yield last, content.read()
        except tarfile.TarError as error:
            raise NoBackupError(f"this is no archive, or it was cut off: {error}") from error
        while self.read(1 << 16):
            pass
        if last != COMPLETE:
            raise NoBackupError("the archive was cut off, or vkube backup did not make it")
        if self._digest not in (None, self._hash.hexdigest()):
            raise NoBackupError("the archive was changed on its way")


def restore(places: Places, incoming: Incoming) -> list[str]:
    """Restores, and returns lines for the operator. Raises NoBackupError, StoreError, SettingsError, OSError;
    then nothing was changed."""
    if places.data is None:
        return _into_postgresql(places, incoming)
    data = places.data
    restored = data.with_name(f"{data.name}.restored")
    shutil.rmtree(restored, ignore_errors=True)
    restored.mkdir(mode=0o700)
    try:
        # A cluster agent that runs holds it.
        with sole_use(data) if data.exists() else nullcontext():
            return _into_directory(data, restored, incoming)
    finally:
        # What was refused or interrupted contains keys, and must not stay.
        shutil.rmtree(restored, ignore_errors=True)


def _into_directory(data: Path, restored: Path, incoming: Incoming) -> list[str]:
    """Beside the previous files first, which are renamed when all is there and durable."""
    store = restored / SQLITE
    database = connect(database_url(f"sqlite:///{store}"))
    try:
        with database.writing.begin() as connection:
            keys = fill(connection, incoming)
            lines = _kept(connection, connect(database_url(f"sqlite:///{data / SQLITE}")), data / SQLITE)
    except SQLAlchemyError as error:
        raise unusable(database.writing.url, error) from error
    finally:
        database.dispose()
    if not keys:
        # Beside a store without its keys, the agent would make others.
        raise NoBackupError("the archive has no keys: it is one of a cluster agent whose keys a Secret has")
    for name, content in keys.items():
        (restored / name).write_bytes(content)
    for file in restored.iterdir():
        file.chmod(0o600)
        _sync(file)
    _sync(restored)
    before = data.with_name(f"{data.name}.before")
    if data.exists():
        shutil.rmtree(before, ignore_errors=True)
        data.rename(before)
    restored.rename(data)
    # The agent refuses a store that is older than its witness, unless this is there.
    data.with_name(f"{data.name}.accepted").touch()
    _sync(data.parent)
    return [f"restored: {' '.join([*keys, SQLITE])}", *lines]


def _into_postgresql(places: Places, incoming: Incoming) -> list[str]:
    database = connect(database_url(places.store_url))
    leadership = Leadership(database)
    try:
        if not leadership.lead():
            raise StoreError("a cluster agent uses the database: stop all of them first")
        with database.writing.begin() as connection:
            for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {setting} = 0")
            lock_for_migration(connection)
            before = _ended(connection) if inspect(connection).has_table("alembic_version") else None
            METADATA.drop_all(connection)
            connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")
            keys = fill(connection, incoming)
            _require_same(keys, places.keys)
            lines = keep(connection, before) if before else [_NOTHING]
    except SQLAlchemyError as error:
        raise unusable(database.writing.url, error) from error
    finally:
        leadership.resign()
        database.dispose()
    return [f"restored: {database.writing.url.database}", *lines]


_NOTHING = (
    "no store was there to keep anything of: what was revoked, forgotten or unregistered after the backup is "
    "in force again; repeat these acts"
)


def fill(connection: Connection, incoming: Incoming) -> dict[str, bytes]:
    """Makes the archive's tables, and brings them to this program's schema; returns the keys."""
    keys: dict[str, bytes] = {}
    members = incoming.members()
    name, content = next(members, ("", b""))
    about = _parsed(content) if name == ABOUT else {}
    if about.get("version") != VERSION:
        raise NoBackupError("the archive is none of this version's: vkube backup did not make it")
    upgrade(connection, str(about.get("revision")))
    tables = set(inspect(connection).get_table_names())
    for table in tables - {"alembic_version"}:  # a migration may have put a row there
        connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - a name of the schema
    for name, content in members:
        if name.startswith(KEYS):
            # By its last name only, so that no archive writes outside of the directory.
            keys[Path(name).name] = content
        elif name.startswith(ROWS):
            for line in content.splitlines():
                _insert(connection, _parsed(line), tables)
    upgrade(connection, "head")
    return keys


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoBackupError(f"the archive has a line that is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise NoBackupError("the archive has a line that is no object")
    return found


def _insert(connection: Connection, line: dict[str, Any], tables: set[str]) -> None:
    table, columns, rows = (line.get(key) for key in ("table", "columns", "rows"))
    is_known = isinstance(table, str) and table in tables
    known = {one["name"] for one in inspect(connection).get_columns(str(table))} if is_known else set()
    if not (isinstance(columns, list) and columns and known.issuperset(map(str, columns))):
        raise NoBackupError(f"the archive has rows of {table!r:.100} that its schema does not have")
    if not (
        isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    ):
        raise NoBackupError(f"the archive has rows of {table} that are not of its columns")
    places = ", ".join(f":{column}" for column in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - checked names
    connection.execute(text(statement), [dict(zip(columns, row, strict=True)) for row in rows])


def _kept(restored: Connection, previous: Database, file: Path) -> list[str]:
    """Keeps what had ended in the previous store, if that can be read."""
    try:
        if not file.exists():
            return [_NOTHING]
        migrate(previous)
        with previous.reading.connect() as connection:
            before = Ended.of(connection)
    except (StoreError, SQLAlchemyError) as error:
        return [f"the store that was there cannot be read ({error})", _NOTHING]
    finally:
        previous.dispose()
    return keep(restored, before)


def _ended(connection: Connection) -> Ended:
    upgrade(connection, "head")
    return Ended.of(connection)


def _require_same(keys: dict[str, bytes], directory: Path | None) -> None:
    mounted = {file.name: file.read_bytes() for file in directory.glob("*.pem")} if directory else {}
    if keys != mounted:
        raise NoBackupError(
            f"the keys in {directory} are not those of the archive ({', '.join(keys)}): put these into the "
            "Secret first, as vkube restore does"
        )


def _sync(path: Path) -> None:
    """Makes a file, or the names in a directory, durable."""
    opened = os.open(path, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


if __name__ == "__main__":
    main()
