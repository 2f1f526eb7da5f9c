"""The connection to the store's database, set up so that a committed transaction is durable.

SQLite in WAL mode with synchronous=FULL: what was committed survives `kill -9` and a power cut
(https://sqlite.org/pragma.html#pragma_synchronous). PostgreSQL with synchronous_commit at least `on`
(https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT), whatever its
configuration says, and with deadlines for everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cluster_agent.errors import StoreError
from service.errors import SettingsError

SQLITE = "cluster-agent.sqlite3"
"""The store's file in the data directory."""
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10
_SESSION = (
    f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={STATEMENT_SECONDS}s"
    f" -c idle_in_transaction_session_timeout={STATEMENT_SECONDS}s"
)


@dataclass(frozen=True)
class Database:
    """The engines for reading and writing. On SQLite a writer's transaction begins with the write lock."""

    reading: Engine
    writing: Engine

    @property
    def is_shared(self) -> bool:
        """Whether other replicas may use it at the same time."""
        return self.writing.dialect.name == "postgresql"

    def dispose(self) -> None:
        self.reading.dispose()
        self.writing.dispose()


def database_url(text_of_url: str) -> URL:
    """The URL of a supported database. Raises SettingsError, whose message never contains a password."""
    try:
        url = make_url(text_of_url)
    except ArgumentError as error:
        raise SettingsError("this is no URL; expected postgresql://USER@HOST/DATABASE") from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SettingsError(f"{url.drivername!r} is no database of ours; expected postgresql://…")
    return url


def connect(url: URL) -> Database:
    """The engines for both; nothing is opened yet except SQLite's file."""
    if url.get_backend_name() == "sqlite":
        return Database(reading=_sqlite(url, "BEGIN"), writing=_sqlite(url, "BEGIN IMMEDIATE"))
    engine = create_engine(
        url,
        pool_size=4,
        max_overflow=2,
        pool_timeout=CONNECT_SECONDS,
        # Notices a connection that the server has closed before it is used.
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": _SESSION,
            "application_name": "vanadium-cluster-agent",
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            "keepalives_idle": STATEMENT_SECONDS,
        },
    )
    event.listen(engine, "connect", _insist_on_durability)
    return Database(reading=engine, writing=engine)


def unusable(url: URL, error: SQLAlchemyError) -> StoreError:
    """The error for a store that cannot be used; it contains neither password nor statement."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    where = url.database if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
    return StoreError(f"cannot use {where} as the store: {cause}")


def _sqlite(url: URL, begin: str) -> Engine:
    # Each connection is used by one thread at a time, but not always by the thread that made it.
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": STATEMENT_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # Otherwise the driver begins transactions by itself, too late and not around changes of the schema.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _insist_on_durability(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        if cursor.fetchone()[0] == "off":
            cursor.execute("SET synchronous_commit = on")
    connection.commit()
