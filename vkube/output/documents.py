"""Lists of objects in the formats of `-o`: table, wide, json, yaml, name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vkube.output.lines import note
from vkube.output.table import table, visible

Item = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column: its header, its value of an item, and whether only `-o wide` has it."""

    header: str
    value: Callable[[Item], object]
    wide: bool = False


@dataclass(frozen=True)
class Listing:
    """How items of one kind are shown. `name` is what `-o name` prints, without the kind."""

    kind: str
    plural: str
    columns: Sequence[Column]
    name: Callable[[Item], str]

    def show(self, items: Sequence[Item], output: str, *, where: str = "") -> None:
        """Prints the items. A table without rows is a note instead, as kubectl does it; `where` completes
        it."""
        if output in ("table", "wide") and not items:
            note(f"no {self.plural} found{where}")
        else:
            sys.stdout.write(self.text(items, output))

    def shown(self, output: str) -> list[Column]:
        """The columns of `table` or `wide`."""
        return [one for one in self.columns if output == "wide" or not one.wide]

    def text(self, items: Sequence[Item], output: str) -> str:
        """The items in that format."""
        if output == "json":
            return as_json({"kind": f"{self.kind}List", "items": list(items)})
        if output == "yaml":
            return as_yaml({"kind": f"{self.kind}List", "items": list(items)})
        if output == "name":
            return "".join(f"{self.kind.lower()}/{visible(self.name(item))}\n" for item in items)
        columns = self.shown(output)
        rows = [[column.value(item) for column in columns] for item in items]
        return table([column.header for column in columns], rows) + "\n"


def document(value: Item, output: str) -> str | None:
    """The whole value as JSON or YAML; None for the other formats."""
    if output == "json":
        return as_json(value)
    return as_yaml(value) if output == "yaml" else None


def as_json(value: object) -> str:
    """JSON with its Unicode as it is, but for what is not printable: JSON allows such characters in strings,
    and some begin an escape sequence for the terminal."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(map(_escaped, text.split("\n"))) + "\n"


def _escaped(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(one if one.isprintable() else _escape(one) for one in line)


def _escape(one: str) -> str:
    """RFC 8259, section 7: its UTF-16 code units."""
    units = one.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def as_yaml(value: object) -> str:
    """YAML in the order of the value, with its Unicode as it is, unless some of it is not printable."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    if not text.replace("\n", "").isprintable():
        text = yaml.safe_dump(value, sort_keys=False, default_flow_style=False)
    return text
