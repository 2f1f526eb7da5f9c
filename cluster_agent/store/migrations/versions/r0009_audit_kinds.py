"""The audit has kinds. The tables are the same; a program of before must not start, because it would remove
administrative acts after 30 days."""

from __future__ import annotations

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing to change."""
