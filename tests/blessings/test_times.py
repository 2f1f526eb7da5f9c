"""One spelling of times: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from blessings.encoding.times import rfc3339


def test_a_time_is_spelled_in_utc_and_rounded_down() -> None:
    time = datetime(2026, 11, 24, 14, 0, 59, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(time) == "2026-11-24T12:00:59Z"
    assert rfc3339(time, "milliseconds") == "2026-11-24T12:00:59.999Z"
    assert rfc3339(time, "microseconds") == "2026-11-24T12:00:59.999999Z"
    assert rfc3339(datetime(7, 1, 1, tzinfo=UTC)) == "0007-01-01T00:00:00Z"
