"""Fields of one object, a line each, with their values in one column."""

from __future__ import annotations

from collections.abc import Sequence

from vkube.output.table import printable


def fields(rows: Sequence[tuple[str, object]]) -> str:
    """The lines, each with a newline."""
    width = max(len(name) for name, _ in rows) + 1
    return "".join(f"{name + ':':{width}}   {printable(value)}\n" for name, value in rows)
