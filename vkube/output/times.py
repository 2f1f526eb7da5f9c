"""Times and durations as kubectl prints them: 45s, 12m, 5h30m, 12d."""

from __future__ import annotations

from datetime import datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(time: timedelta) -> str:
    """At most two units, rounded down; negative durations are 0s."""
    seconds = max(0, int(time.total_seconds()))
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 10 * _MINUTE:
        return _two(seconds, _MINUTE, "m", 1, "s")
    if seconds < 3 * _HOUR:
        return f"{seconds // _MINUTE}m"
    if seconds < 8 * _HOUR:
        return _two(seconds, _HOUR, "h", _MINUTE, "m")
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR}h"
    return f"{seconds // _DAY}d"


def age(since: str | None, now: datetime) -> str:
    """How long ago that RFC 3339 time was; empty without one."""
    return duration(now - datetime.fromisoformat(since)) if since else ""


def left(until: str | None, now: datetime) -> str:
    """How long it is until that RFC 3339 time; `expired` when it is past; empty without one."""
    if not until:
        return ""
    end = datetime.fromisoformat(until)
    return "expired" if end <= now else duration(end - now)


def _two(seconds: int, unit: int, name: str, part: int, part_name: str) -> str:
    rest = seconds % unit // part
    return f"{seconds // unit}{name}" + (f"{rest}{part_name}" if rest else "")
