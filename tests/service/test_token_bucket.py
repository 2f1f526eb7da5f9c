"""A token bucket lets a burst through, and then its rate."""

from __future__ import annotations

import pytest

from service.token_bucket import TokenBucket


def test_a_burst_is_spent_at_once_and_fills_again_at_the_rate() -> None:
    bucket = TokenBucket.full(2.0, 3.0, now=100.0)
    assert bucket.is_full(100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take(100.25) == pytest.approx(0.25)
    assert bucket.take(100.5) == 0.0
    assert not bucket.is_full(101.9)
    assert bucket.is_full(102.0)


def test_what_is_full_does_not_fill_further() -> None:
    bucket = TokenBucket.full(1.0, 1.0, now=0.0)
    assert bucket.take(1000.0) == 0.0
    assert bucket.take(1000.0) == 1.0
