"""The environment that Alembic runs migrations in: the connection, lock and transaction of `migrate`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
