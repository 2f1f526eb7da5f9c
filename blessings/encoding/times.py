"""Times as RFC 3339 writes them, in UTC: `2026-11-24T12:00:00Z`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal


def rfc3339(time: datetime, unit: Literal["seconds", "milliseconds", "microseconds"] = "seconds") -> str:
    """`time` in UTC with whole units, rounded down."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=unit) + "Z"
