"""The registered applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("service_account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("ttl_seconds", _WHOLE),
        sa.Column("chain", sa.Text),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("registered_at", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "service_account"),
        sqlite_strict=True,
    )
