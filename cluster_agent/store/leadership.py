"""Leadership: one replica does the housekeeping, the one that holds the database's advisory lock.

The lock belongs to a session. PostgreSQL releases it when the connection ends, so after a leader was killed,
the next replica that tries becomes the leader. SQLite has one replica, which always leads.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.store.database import LEADER_LOCK, Database


class Leadership:
    """This replica's attempts to lead. Not safe for threads."""

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
            held = session.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": LEADER_LOCK}
            ).scalar_one()
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
                    self._session.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LEADER_LOCK})
            self._session.invalidate()
            self._session.close()
            self._session = None
