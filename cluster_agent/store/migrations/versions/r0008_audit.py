"""The audit: chains of records, and their signed heads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_chains",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("number", _NUMBER, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("base_number", _NUMBER, nullable=False),
        sa.Column("base_hash", sa.Text, nullable=False),
        sa.Column("base_key", sa.Text, nullable=False),
        sa.Column("base_signature", sa.Text, nullable=False),
        sa.Column("witnessed", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "audit_records",
        sa.Column("chain", sa.Text, primary_key=True),
        sa.Column("number", _NUMBER, primary_key=True),
        sa.Column("at", _NUMBER, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
