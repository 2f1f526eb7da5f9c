"""Brings the schema to what this program knows, in one transaction under a lock: replicas that start
together wait for the first, and an interrupted migration is as if it had not begun."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.errors import StoreError
from cluster_agent.store.database import Database, lock_for_migration, unusable

# SQLite files of before the migrations say their version here; later ones say more, so that a program of
# that time leaves them alone.
_VERSION_BEFORE_MIGRATIONS = 1
_REVISION_BEFORE_MIGRATIONS = "0001"


def migrate(database: Database, revision: str = "head") -> None:
    """Raises StoreError when the database cannot be used, or was written by a newer program."""
    try:
        with database.writing.begin() as connection:
            lock_for_migration(connection)
            _migrate(connection, revision)
    except SQLAlchemyError as error:
        raise unusable(database.writing.url, error) from error


def _migrate(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and _is_from_before_migrations(connection):
        command.stamp(config, _REVISION_BEFORE_MIGRATIONS)
    elif current is not None and current not in {one.revision for one in script.walk_revisions()}:
        raise StoreError(
            f"the store has schema revision {current}, which this program does not know; "
            "run the version that wrote it"
        )
    command.upgrade(config, revision)


def _is_from_before_migrations(connection: Connection) -> bool:
    if not inspect(connection).has_table("secrets"):
        return False
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version == _VERSION_BEFORE_MIGRATIONS:
            return True
    raise StoreError("the database has a table `secrets` that is none of ours; use another database")
