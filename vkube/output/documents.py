"""Lists of objects in the formats of `-o`: table, wide, json, yaml, name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vkube.output.lines import note
from vkube.output.table import table

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
            return (
                json.dumps({"kind": f"{self.kind}List", "items": list(items)}, indent=2, ensure_ascii=False)
                + "\n"
            )
        if output == "yaml":
            return as_yaml({"kind": f"{self.kind}List", "items": list(items)})
        if output == "name":
            return "".join(f"{self.kind.lower()}/{self.name(item)}\n" for item in items)
        columns = self.shown(output)
        rows = [[column.value(item) for column in columns] for item in items]
        return table([column.header for column in columns], rows) + "\n"


def document(value: Item, output: str) -> str | None:
    """The whole value as JSON or YAML; None for the other formats."""
    if output == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return as_yaml(value) if output == "yaml" else None


def as_yaml(value: object) -> str:
    """YAML in the order of the value, with its Unicode as it is."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text
