"""The right name beside a mistyped one."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from webhook.layout import PREFIX

# API servers pass on 4096 characters of warnings, and a Pod may have any number of labels and annotations: of
# each kind so many are told, after what concerns security.
_MOST_TOLD = 8
# A comparison takes some ten microseconds, and anybody may write many and long names.
_MOST_HINTS = 3
_LONGEST = 64


def told(names: Iterable[str], known: Collection[str]) -> list[tuple[str, str]]:
    """The first few names, in their order, each with the end of a message: which of the known names is meant;
    empty where none is near."""
    return [
        (name, _hint(name, known) if position < _MOST_HINTS else "")
        for position, name in enumerate(heapq.nsmallest(_MOST_TOLD, names))
    ]


def _hint(name: str, known: Collection[str]) -> str:
    if len(name) > _LONGEST:
        return ""
    import difflib  # only here: hardly a Pod has a mistyped name

    # The prefix, which all of them have, would make a short name near to any other one.
    rest = sorted(one.removeprefix(PREFIX) for one in known)
    near = difflib.get_close_matches(name.removeprefix(PREFIX).lower(), rest, n=1, cutoff=0.75)
    return f"; did you mean {PREFIX}{near[0]}?" if near else ""
