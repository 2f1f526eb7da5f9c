"""When a certificate of the control plane is renewed, as functions of its times.

Serving certificates live 30 days and are renewed after 20, so that ten days of a broken renewal hurt nobody.
The root lives a year. After eight months its successor is made and published beside it; a week later,
when every reader of the bundle has long seen it, the successor signs. The old root stays in the bundle
until it expires, so what it signed stays good.
"""

from __future__ import annotations

from datetime import datetime, timedelta

ROOT_LIFETIME = timedelta(days=365)
SERVING_LIFETIME = timedelta(days=30)
OVERLAP = timedelta(days=7)


def is_due(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether two thirds of the life are over."""
    return now >= not_before + (not_after - not_before) * 2 / 3


def may_sign(published_at: datetime, now: datetime) -> bool:
    """Whether a successor published at that time is known to every reader of the bundle."""
    return now >= published_at + OVERLAP
