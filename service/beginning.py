"""How a pod agent tells the cluster agent in which time its Pod came to its first identity.

A header of its first question for news has the milliseconds from the start of the process until each step was
done, in the order of STEPS:

    vanadium-beginning: 212,215,215,260,330,331

It is a header, because a cluster agent of a version that does not know it ignores it.

started     the process runs, and listens
mounted     the bootstrap credential is read
token       the service account's token is read
connected   TLS with the cluster agent stands
issued      its answer is verified
served      programs of the Pod get it
"""

from __future__ import annotations

import re
from collections.abc import Mapping

HEADER = "vanadium-beginning"
STEPS = ("started", "mounted", "token", "connected", "issued", "served")
MOST_MILLISECONDS = 24 * 3600 * 1000
_WRITTEN = rf"[0-9]{{1,8}}(?:,[0-9]{{1,8}}){{{len(STEPS) - 1}}}"


def written(milliseconds: Mapping[str, int]) -> str | None:
    """The header's value; None while a step is not done."""
    if any(step not in milliseconds for step in STEPS):
        return None
    return ",".join(str(min(milliseconds[step], MOST_MILLISECONDS)) for step in STEPS)


def read(value: str) -> dict[str, int] | None:
    """The milliseconds of each step; None for what no pod agent sends: anything else than a number for each
    step, more than a day, or a step that was done before the one that precedes it."""
    if re.fullmatch(_WRITTEN, value) is None:
        return None
    milliseconds = [int(number) for number in value.split(",")]
    if milliseconds[-1] > MOST_MILLISECONDS or milliseconds != sorted(milliseconds):
        return None
    return dict(zip(STEPS, milliseconds, strict=True))
