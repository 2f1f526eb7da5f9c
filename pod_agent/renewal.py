"""The time of a renewal, as a function of times and of a random number from 0 to 1."""

from __future__ import annotations

from datetime import datetime

_JITTER = 0.1


def renewal_time(received: datetime, not_after: datetime, chance: float) -> datetime:
    """When to renew: after half of the remaining lifetime, give or take a tenth of that half.

    The random part spreads replicas that started together. The lifetime counts from `received`, because the
    certificate's own begin is backdated.
    """
    half = (not_after - received) / 2
    return received + half * (1 - _JITTER + 2 * _JITTER * chance)
