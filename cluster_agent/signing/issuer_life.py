"""The life of an issuing certificate, as functions of times: when its successor is made, how long the
certificates under it may live, and when it no longer signs.

made ── two thirds of its life, or twice the TTL before its end ──► successor made, signs from now on
     ── its end ──► the last certificate under it ended earlier

The successor has the same key and name, so earlier certificates stay valid until their own end. When the
certificate above ends first, a successor would not last longer: the TTLs shrink to the time that is left, and
less than a minute is refused.

The control plane's own root (`certs.root_succession`) is renewed in another way: its readers are known, and
it waits a fixed time for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from blessings import Blessing

# Verifiers' clocks are wrong by up to a minute, so a certificate with a shorter life may be useless.
LEAST_LIFE = timedelta(seconds=60)
# When this share of an issuing certificate's life is left, it should be logged that it was not renewed.
_WARNED_SHARE = 6


@dataclass(frozen=True)
class Life:
    """The validity of a certificate, or of all certificates of a chain together."""

    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, blessing: Blessing) -> Life:
        return cls(blessing.not_before, blessing.not_after)

    def left(self, now: datetime) -> timedelta:
        """The time left; negative after the end."""
        return self.not_after - now

    @property
    def length(self) -> timedelta:
        return self.not_after - self.not_before


@dataclass(frozen=True)
class Plan:
    """What to do to sign now: whether to make a successor first, and how long a certificate may live then.

    With a TTL of 0, nothing may be signed, because the issuer ends at `ends`.
    """

    renew: bool
    ttl: timedelta
    ends: datetime


def plan(issuer: Life | None, above: Life, *, now: datetime, ttl: timedelta, lifetime: timedelta) -> Plan:
    """How to sign a certificate of `ttl` with `issuer`, which `above` can renew for `lifetime`."""
    renewed_end = min(now.replace(microsecond=0) + lifetime, above.not_after)
    # An issuer that is not valid yet was made by a clock that was ahead.
    renew = (
        issuer is None
        or issuer.not_before > now
        or (_is_due(issuer, now, ttl) and renewed_end > issuer.not_after)
    )
    ends = min(renewed_end if issuer is None or renew else issuer.not_after, above.not_after)
    left = ends - now
    return Plan(renew, min(ttl, left) if left >= min(LEAST_LIFE, ttl) else timedelta(0), ends)


def is_ending(life: Life, now: datetime) -> bool:
    """Whether less than a sixth of its life is left, so that it should have been renewed long ago."""
    return life.left(now) < life.length / _WARNED_SHARE


def _is_due(issuer: Life, now: datetime, ttl: timedelta) -> bool:
    # Never in the first half, however long the TTL: otherwise each certificate would get a new successor.
    return issuer.left(now) < max(issuer.length / 3, min(2 * ttl, issuer.length / 2))
