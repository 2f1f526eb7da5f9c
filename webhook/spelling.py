"""The right name beside a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable

# A comparison takes some ten microseconds, and anybody may write long names.
_LONGEST = 64


def hint(name: str, known: Iterable[str]) -> str:
    """Which of the known names is meant, as the end of a message; empty where none is near."""
    if len(name) > _LONGEST:
        return ""
    import difflib  # only here: hardly a Pod has a mistyped name

    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.85)
    return f"; did you mean {near[0]}?" if near else ""
