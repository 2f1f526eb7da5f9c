"""The certificates and lists whose ends are shown as metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from cluster_agent.signing.room import SigningRoom


def certificate_ends(room: SigningRoom, serving: datetime | None, now: datetime) -> Mapping[str, datetime]:
    """When the certificates end: `identity`, `bootstrap`, each application that was issued for, by its name,
    and `serving`, which is given."""
    ends = {} if serving is None else {"serving": serving}
    for name, life in room.lives().items():
        # An application's certificate is renewed when it is needed; one that expired unused is no alarm.
        if life.not_after > now or name in room.authorities:
            ends[name] = life.not_after
    return ends


def seconds_until(end: datetime | None, now: datetime) -> float:
    """The seconds from `now` to `end`; infinite without an end."""
    return math.inf if end is None else (end - now).total_seconds()
