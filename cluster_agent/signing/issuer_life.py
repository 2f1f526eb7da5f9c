"""How long an issuing certificate is used, as functions of times: when its successor is made, how long what
it signs may live, and when it signs no more.

made ── two thirds of its life, or twice the TTL before its end ──► successor made, signs from now on
     ── its end ──► the last certificate under it ended before

The successor is for the same key and name, so what was signed before stays good until its own end. Where
whoever is above ends first, there is no better successor: the TTLs shrink to what is left, and less than a
minute is refused.

The control plane's own root (`certs.root_succession`) has another life: it knows its readers, and waits for
them a fixed time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from blessings import Blessing

# Verifiers' clocks are up to a minute off, so what lives shorter may be of no use to anybody.
LEAST_LIFE = timedelta(seconds=60)
# Of an issuing certificate's life, when a person should be told that it was not renewed.
_WARNED_SHARE = 6


@dataclass(frozen=True)
class Life:
    """From when to when a certificate, or the certificates of a chain together, are valid."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, blessing: Blessing) -> Life:
        return cls(blessing.not_before, blessing.not_after)

    def left(self, now: datetime) -> timedelta:
        """Negative after the end."""
        return self.not_after - now

    @property
    def length(self) -> timedelta:
        return self.not_after - self.not_before


@dataclass(frozen=True)
class Plan:
    """What to do to sign now: whether to make a successor first, and how long a certificate may live then.

    A TTL of nothing means to refuse, because the issuer ends at `ends`.
    """

    renew: bool
    ttl: timedelta
    ends: datetime


def plan(issuer: Life | None, above: Life, *, now: datetime, ttl: timedelta, lifetime: timedelta) -> Plan:
    """How to sign a certificate of `ttl` with `issuer`, which `above` can renew for `lifetime`."""
    renewed_end = min(now.replace(microsecond=0) + lifetime, above.not_after)
    renew = issuer is None or (_is_due(issuer, now, ttl) and renewed_end > issuer.not_after)
    ends = min(renewed_end if issuer is None or renew else issuer.not_after, above.not_after)
    left = ends - now
    return Plan(renew, min(ttl, left) if left >= min(LEAST_LIFE, ttl) else timedelta(0), ends)


def is_ending(life: Life, now: datetime) -> bool:
    """Whether it should have been renewed long ago: less than a sixth of it is left."""
    return life.left(now) < life.length / _WARNED_SHARE


def first_end(lives: Sequence[Life]) -> datetime | None:
    """When the first of them ends."""
    return min((life.not_after for life in lives), default=None)


def _is_due(issuer: Life, now: datetime, ttl: timedelta) -> bool:
    # Never in the first half, however long a TTL: there would be a successor for each certificate.
    return issuer.left(now) < max(issuer.length / 3, min(2 * ttl, issuer.length / 2))
