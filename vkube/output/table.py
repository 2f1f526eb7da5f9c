"""Tables as kubectl prints them: columns with three spaces between them, and no lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_GAP = "   "
NOTHING = "<none>"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The lines of a table, without the last newline. Empty and missing values are `<none>`."""
    return GrowingTable(header).text(rows).removesuffix("\n")


class GrowingTable:
    """A table that gets more rows later: its header is printed once, and no column becomes narrower."""

    def __init__(self, header: Sequence[str]) -> None:
        self._lines: list[Sequence[str]] = [header]
        self._widths = [0] * len(header)

    def text(self, rows: Iterable[Sequence[object]]) -> str:
        """The lines of these rows, each with a newline; before the first of all rows the header."""
        lines = self._lines + [[printable(one) for one in row] for row in rows]
        self._lines = []
        for line in lines:
            self._widths = [max(width, len(cell)) for width, cell in zip(self._widths, line, strict=True)]
        return "".join(
            _GAP.join(cell.ljust(width) for cell, width in zip(line, self._widths, strict=True)).rstrip()
            + "\n"
            for line in lines
        )


def printable(value: object) -> str:
    """The text of a value, for a terminal."""
    return visible("" if value is None else str(value)) or NOTHING


def visible(text: str) -> str:
    """The text without characters that are not printable. A name that another program chose may contain a
    line break, an escape sequence for the terminal, or a character that turns the direction of writing."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "�" for one in text)
