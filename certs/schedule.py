"""When certificates of the control plane are renewed, as functions of their times.

Serving certificates live 30 days and are renewed after 20, so ten days of failing renewals do no harm. The
root lives a year. After eight months its successor is made and published beside it. A week later, when every
client has long read the bundle, the successor signs. The old root stays in the bundle until it expires, so
the certificates that it signed stay valid.
"""

from __future__ import annotations

from datetime import datetime, timedelta

ROOT_LIFETIME = timedelta(days=365)
SERVING_LIFETIME = timedelta(days=30)
OVERLAP = timedelta(days=7)


def is_due(not_before: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether two thirds of the lifetime have passed."""
    return now >= not_before + (not_after - not_before) * 2 / 3


def may_sign(published_at: datetime, now: datetime) -> bool:
    """Whether every reader of the bundle knows a successor that was published at that time."""
    return now >= published_at + OVERLAP
