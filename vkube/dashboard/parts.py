"""The parts that every section of the page is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vkube.dashboard.html import Child, Markup, element


@dataclass(frozen=True)
class Row:
    """A row of a table. `key` tells it from the others, so that an update leaves the rest in place."""

    key: str
    cells: Sequence[Child]
    class_: str | None = None


def section(name: str, title: str, *content: Child) -> Markup:
    """A section that links can lead to."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def table(
    columns: Sequence[str], rows: Iterable[Row], *, header: int = 0, class_: str | None = None
) -> Markup:
    """A table whose column number `header` names the row. It scrolls by itself where it is too wide."""
    head = element("tr", (element("th", one, scope="col") for one in columns))
    body = (
        element(
            "tr",
            (
                element("th", cell, scope="row")
                if number == header
                else element("td", cell, data_label=columns[number])
                for number, cell in enumerate(row.cells)
            ),
            data_key=row.key,
            class_=row.class_,
        )
        for row in rows
    )
    return element("table", element("thead", head), element("tbody", body), class_=class_)
