"""The time of a renewal, as a function of times and of a random number from 0 to 1."""

from __future__ import annotations

from datetime import datetime

# Of half of the lifetime.
_EARLIEST, _LATEST = 0.8, 0.95


def renewal_time(received: datetime, not_after: datetime, chance: float) -> datetime:
    """When to renew: a twentieth to a fifth before half of the remaining lifetime.

    The random part spreads replicas that started together. It is before half, so that a replica whose renewal
    is due when the cluster agent goes away outlives an outage of half a lifetime, with some time for its
    renewal. The lifetime counts from `received`, because the certificate's own begin is backdated.
    """
    half = (not_after - received) / 2
    return received + half * (_LATEST - (_LATEST - _EARLIEST) * chance)
