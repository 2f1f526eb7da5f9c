"""The database's advisory locks, for several replicas of the agent on one PostgreSQL. SQLite has one replica,
whose writer holds the write lock: there these locks do nothing.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.store.database import Database

# Advisory locks are numbers that the users of a database agree on; these encode "VanMigra", "VanLeadr" and so
# on.
_MIGRATION = int.from_bytes(b"VanMigra")
_LEADER = int.from_bytes(b"VanLeadr")
_REVOCATION = int.from_bytes(b"VanRevok")
# Locks with two numbers are separate from those with one; here the second number stands for the pod.
_PODS = int.from_bytes(b"VPod")


class Leadership:
    """This replica's attempt to lead: the one that holds this lock does the housekeeping. Not for
    several threads at once.

    The lock belongs to a session. PostgreSQL releases it when the connection ends, so after a leader was
    killed, the next replica that tries becomes the leader.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Connection | None = None

    def lead(self) -> bool:
        """Returns whether this replica leads now; tries to become the leader when there is none. Raises
        SQLAlchemyError."""
        if not self._database.is_shared:
            return True
        if self._session is not None:
            try:
                self._session.execute(text("SELECT 1"))
            except SQLAlchemyError:
                self.resign()
            else:
                return True
        session = self._database.writing.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            held = session.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LEADER}).scalar_one()
        except SQLAlchemyError:
            session.close()
            raise
        if held:
            self._session = session
        else:
            session.close()
        return bool(held)

    def resign(self) -> None:
        """Releases the lock, and ends its session. Releasing lets another replica lead at once, whereas
        PostgreSQL notices a closed connection only later."""
        if self._session is not None:
            if not self._session.invalidated:
                # If this fails, the end of the session releases it.
                with suppress(SQLAlchemyError):
                    self._session.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LEADER})
            self._session.invalidate()
            self._session.close()
            self._session = None


def lock_for_migration(connection: Connection) -> None:
    """Waits until no other replica changes the schema, and keeps the lock until the transaction's end. On
    SQLite the write lock is already held."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL statement_timeout = '5min'"))
        connection.execute(text("SET LOCAL lock_timeout = '5min'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION})


def hold_off_issuing(connection: Connection) -> None:
    """Waits for issuances that have begun, and makes later ones wait, until the transaction's end."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _REVOCATION})


def hold_off_revocations(connection: Connection) -> None:
    """Makes revocations wait until the transaction's end, so that they include what it records."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:key)"), {"key": _REVOCATION})


def hold_pods(connection: Connection, pod_uids: Collection[str]) -> set[str]:
    """Locks these pods until the transaction's end, so that a count of their certificates stays right.
    Returns those that another replica has locked.

    It does not wait: otherwise a replica that is stuck in its transaction would stop the issuing of all
    others.
    """
    if connection.dialect.name != "postgresql":
        return set()
    return set(connection.scalars(_HOLD, {"kind": _PODS, "pods": list(pod_uids)}))


_HOLD = text(
    "SELECT uid FROM unnest(CAST(:pods AS text[])) AS uid "
    "WHERE NOT pg_try_advisory_xact_lock(:kind, hashtext(uid))"
)
