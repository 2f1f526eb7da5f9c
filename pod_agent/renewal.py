"""The times of renewals and retries, as functions of times and of a random number from 0 to 1."""

from __future__ import annotations

from datetime import datetime, timedelta

_JITTER = 0.1
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0


def renewal_time(received: datetime, not_after: datetime, chance: float) -> datetime:
    """When to renew: after half of the remaining lifetime, give or take a tenth of that half.

    The random part spreads replicas that started together. The lifetime counts from `received`, because the
    certificate's own begin is backdated.
    """
    half = (not_after - received) / 2
    return received + half * (1 - _JITTER + 2 * _JITTER * chance)


def pause_before_retry(failures: int, chance: float, asked_seconds: float | None) -> timedelta:
    """The back-off after so many failures in a row: exponential with full jitter, and at least as long as the
    cluster agent asked for with Retry-After."""
    ceiling = min(_FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10), _LONGEST_PAUSE_SECONDS)
    return timedelta(
        seconds=max(ceiling * (0.5 + chance / 2), min(asked_seconds or 0.0, _LONGEST_PAUSE_SECONDS))
    )
