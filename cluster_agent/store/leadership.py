"""One replica does the housekeeping: the one that holds the database's own advisory lock.

The lock belongs to a session. PostgreSQL frees it when the connection ends, so a killed leader is followed
at the next attempt of another replica. SQLite has one replica, which always leads.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from cluster_agent.store.database import LEADER_LOCK, Database


class Leadership:
    """This replica's attempt at leading. Not for several threads at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Connection | None = None

    def lead(self) -> bool:
        """Whether this replica leads now; tries to, when nobody does. Raises SQLAlchemyError."""
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
        """Gives the lock back, and ends its session. Another replica can lead when this returns: PostgreSQL
        learns only later that a connection was closed."""
        if self._session is not None:
            if not self._session.invalidated:
                # Where this fails, the end of the session frees it.
                with suppress(SQLAlchemyError):
                    self._session.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LEADER_LOCK})
            self._session.invalidate()
            self._session.close()
            self._session = None
