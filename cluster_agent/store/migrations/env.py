"""What Alembic runs around the migrations: they get the connection, lock and transaction of `migrate`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
