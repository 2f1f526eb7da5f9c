"""Migration of the schema to this program's version, in one transaction under a lock.

Replicas that start together wait for the first one. An interrupted migration leaves no trace.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.errors import StoreError
from cluster_agent.store.database import Database, unusable
from cluster_agent.store.locks import lock_for_migration

# Version 0.1.0 had no migrations, and wrote this into its SQLite file. The first migration writes another
# value, so that version 0.1.0 does not use the file.
_USER_VERSION_OF_0_1_0 = 1
# Revisions of this program between 0.1.0 and 0.2.0, none of which was released.
_NEVER_RELEASED = frozenset(f"000{number}" for number in range(1, 10))


def migrate(database: Database) -> None:
    """Migrates the database. Raises StoreError when it cannot be used, or another program made it."""
    try:
        with database.writing.begin() as connection:
            lock_for_migration(connection)
            _migrate(connection)
    except SQLAlchemyError as error:
        raise unusable(database.writing.url, error) from error


def upgrade(connection: Connection, revision: str) -> None:
    """Brings an empty schema, or a former one of ours, to that revision. Raises StoreError."""
    config = _config(connection)
    if revision != "head" and revision not in _known(config):
        raise _unknown(revision)
    command.upgrade(config, revision)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _known(config: Config) -> set[str]:
    return {one.revision for one in ScriptDirectory.from_config(config).walk_revisions()}


def _unknown(revision: str) -> StoreError:
    return StoreError(
        f"the store has schema revision {revision}, which this program does not know; "
        "run the version that wrote it"
    )


def _migrate(connection: Connection) -> None:
    config = _config(connection)
    current = MigrationContext.configure(connection).get_current_revision()
    if current in _NEVER_RELEASED:
        raise StoreError(
            f"the store has schema revision {current}, which no release had, and no release takes up; "
            "start with an empty database"
        )
    if current is None:
        _refuse_what_is_not_ours(connection)
    elif current not in _known(config):
        raise _unknown(current)
    command.upgrade(config, "head")


def _refuse_what_is_not_ours(connection: Connection) -> None:
    if not inspect(connection).has_table("secrets"):
        return
    if connection.dialect.name == "sqlite":
        version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version == _USER_VERSION_OF_0_1_0:
            return
    raise StoreError("the database has a table `secrets` that is none of ours; use another database")
