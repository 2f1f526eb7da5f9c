"""Tables as kubectl prints them: columns with three spaces between them, and no lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_GAP = "   "
NOTHING = "<none>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The lines of a table, without the last newline. Empty and missing values are `<none>`."""
    cells = [[printable(one) for one in row] for row in rows]
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = [header, *cells]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(value: object) -> str:
    """The text of a value, for a terminal."""
    # A name that another program chose may contain a line break or an escape sequence for the terminal.
    text = "" if value is None else str(value)
    return "".join(one if one.isprintable() else "�" for one in text) or NOTHING
