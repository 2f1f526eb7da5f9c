"""Revocation: which certificate each issuance is, what was revoked, and what was published of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    for name in ("serial", "issuer", "issuing_key"):
        op.add_column("issuances", sa.Column(name, sa.Text))
    op.create_index("issuances_pod_uid", "issuances", ["pod_uid"])
    op.create_table(
        "issuers",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("issuing_key", sa.Text, nullable=False),
        sa.Column("not_after", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("name", "issuing_key"),
        sqlite_strict=True,
    )
    op.create_table(
        "revoked_certificates",
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("issuing_key", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
        sa.Column("revoked_at", _WHOLE, nullable=False),
        sa.Column("not_after", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "issuing_key", "serial"),
        sqlite_strict=True,
    )
    op.create_table(
        "revoked_replicas",
        sa.Column("pod_uid", sa.Text, primary_key=True),
        sa.Column("revoked_at", _WHOLE, nullable=False),
        sa.Column("gone", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "revoked_applications",
        sa.Column("namespace", sa.Text, nullable=False),
        sa.Column("service_account", sa.Text, nullable=False),
        sa.Column("revoked_at", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("namespace", "service_account"),
        sqlite_strict=True,
    )
    op.create_table(
        "revocation_state",
        sa.Column("number", _WHOLE, primary_key=True, autoincrement=False),
        sa.Column("published_at", _WHOLE, nullable=False),
        sa.Column("last_revocation", _WHOLE, nullable=False),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO revocation_state (number, published_at, last_revocation) VALUES (1, 0, 1)")
