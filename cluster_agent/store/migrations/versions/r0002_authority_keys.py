"""Whose database it is: the fingerprints of the keys that every replica must have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "authority_keys",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    if op.get_context().dialect.name == "sqlite":
        # A program from before the migrations reads this, and refuses what it does not know.
        op.execute("PRAGMA user_version = 2")
