"""PodCertificateRequests: what entitles an application without a bootstrap credential, and the answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"

_WHOLE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_LIVE_VOLUME = sa.text("delivery = 'volume' AND forgotten_at IS NULL")


def upgrade() -> None:
    op.add_column("secrets", sa.Column("delivery", sa.Text))
    op.create_index(
        "secrets_volume",
        "secrets",
        ["namespace", "service_account"],
        unique=True,
        postgresql_where=_LIVE_VOLUME,
        sqlite_where=_LIVE_VOLUME,
    )
    op.create_table(
        "pod_requests",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("held_until", _WHOLE, nullable=False),
        sa.Column("status", sa.Text),
        sa.Column("certificate_fingerprint", sa.Text),
        sqlite_strict=True,
    )
    op.create_index("pod_requests_held_until", "pod_requests", ["held_until"])
