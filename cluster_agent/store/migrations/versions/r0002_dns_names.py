"""DNS names that administrators register for applications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"


def upgrade() -> None:
    op.add_column("applications", sa.Column("dns_names", sa.Text))
    op.create_table(
        "application_dns_names",
        sa.Column("dns_name", sa.Text, primary_key=True),
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("service_account", sa.Text, primary_key=True),
        sqlite_strict=True,
    )
