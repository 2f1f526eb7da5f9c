"""The program that writes a backup to standard output, while the agent runs:
`python -m cluster_agent.backup.archive > backup.tar`."""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, select
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.backup.places import Places
from cluster_agent.errors import ClusterAgentError, StoreError
from cluster_agent.store.database import SQLITE, connect, database_url, unusable
from cluster_agent.store.tables import METADATA, audit_chains, audit_records, secrets
from service.errors import SettingsError

VERSION = 1
ABOUT, KEYS, ROWS, WITNESS, COMPLETE = "backup.json", "keys/", "rows/", "witness", "complete"
_ROWS_A_LINE = 200
_MEMBER_BYTES = 1 << 20


def main() -> None:
    """Exits with 1 when the store cannot be read."""
    parser = argparse.ArgumentParser(prog="archive", description=__doc__)
    parser.add_argument("--audit", action="store_true", help="the audit alone, without keys: for verifiers")
    try:
        write(Places.of_environment(), audit=parser.parse_args().audit)
    except (ClusterAgentError, SettingsError, OSError) as error:
        sys.exit(f"nothing was backed up: {error}")


def write(places: Places, *, audit: bool = False) -> None:
    """Writes the archive of one snapshot. Raises StoreError, SettingsError, OSError."""
    tables = [audit_chains, audit_records] if audit else METADATA.sorted_tables
    database = connect(database_url(places.store_url))
    if places.data is not None and not (places.data / SQLITE).exists():
        raise StoreError(f"there is no store in {places.data}")
    try:
        with (
            database.reading.connect() as connection,
            tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive,
        ):
            if database.is_shared:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                # However slowly the archive is read.
                for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    connection.exec_driver_sql(f"SET LOCAL {setting} = 0")
            # The snapshot is that of the first read. The keys come later, so that every root that the store
            # knows has its key beside it.
            connection.execute(select(secrets.c.id).limit(1)).all()
            about = {"version": VERSION, "revision": _revision(connection), "at": _now()}
            _add(archive, ABOUT, json.dumps(about).encode())
            for key in sorted(places.keys.glob("*.pem")) if places.keys and not audit else ():
                _add(archive, f"{KEYS}{key.name}", key.read_bytes())
            if audit and places.witness is not None and places.witness.exists():
                _add(archive, WITNESS, places.witness.read_bytes())
            for number, content in enumerate(_members(connection, tables), 1):
                _add(archive, f"{ROWS}{number:06}.jsonl", content)
            _add(archive, COMPLETE, b"")
    except SQLAlchemyError as error:
        raise unusable(database.reading.url, error) from error
    finally:
        database.dispose()


def _revision(connection: Connection) -> str:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise StoreError("the store has no schema yet: the cluster agent never started with it")
    return revision


def _members(connection: Connection, tables: Iterable[Table]) -> Iterator[bytes]:
    content = bytearray()
    for line in _lines(connection, tables):
        content += json.dumps(line, ensure_ascii=False).encode() + b"\n"
        if len(content) >= _MEMBER_BYTES:
            yield bytes(content)
            content.clear()
    yield bytes(content)


def _lines(connection: Connection, tables: Iterable[Table]) -> Iterator[dict[str, Any]]:
    for table in tables:
        found = connection.execution_options(yield_per=_ROWS_A_LINE).execute(select(table))
        columns = list(found.keys())
        for rows in found.partitions():
            yield {"table": table.name, "columns": columns, "rows": [list(row) for row in rows]}


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    main()
