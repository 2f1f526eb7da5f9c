"""A clock that tests turn by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Call it for the time; `turn` moves it on."""

    def __init__(self, start: datetime | None = None) -> None:
        self.time = start or datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def turn(self, **duration: float) -> None:
        """By a timedelta's keywords: `clock.turn(hours=1)`."""
        self.time += timedelta(**duration)
