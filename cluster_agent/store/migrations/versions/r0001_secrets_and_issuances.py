"""Secrets and issuances, as the SQLite store had them before there were migrations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SECONDS = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("service_account", sa.Text, nullable=False),
        sa.Column("certificate_fingerprint", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", _SECONDS, nullable=False),
        sa.Column("not_after", _SECONDS, nullable=False),
        sa.Column("forgotten_at", _SECONDS),
        sqlite_strict=True,
    )
    op.create_table(
        "issuances",
        sa.Column("certificate_fingerprint", sa.Text, primary_key=True),
        sa.Column("secret_id", sa.Text, sa.ForeignKey("secrets.id"), nullable=False),
        sa.Column("pod_name", sa.Text, nullable=False),
        sa.Column("pod_uid", sa.Text, nullable=False),
        sa.Column("public_key_fingerprint", sa.Text, nullable=False, unique=True),
        sa.Column("not_after", _SECONDS, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("issuances_not_after", "issuances", ["not_after"])
