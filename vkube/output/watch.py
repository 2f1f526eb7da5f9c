"""A list that is watched: the items first, then what was added, modified and deleted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from vkube.output.documents import Item, Listing, as_json, as_yaml
from vkube.output.table import GrowingTable, visible

Key = Callable[[Item], object]


class Change(NamedTuple):
    """An item, as it is now, and what happened to it: ADDED, MODIFIED or DELETED, as Kubernetes names it."""

    event: str
    item: Item


def changes(before: Sequence[Item], after: Sequence[Item], key: Key) -> list[Change]:
    """What happened between two lists, whose items `key` tells apart; deletions first."""
    old, new = {key(one): one for one in before}, {key(one): one for one in after}
    found = [Change("DELETED", one) for name, one in old.items() if name not in new]
    for name, one in new.items():
        if name not in old:
            found.append(Change("ADDED", one))
        elif one != old[name]:
            found.append(Change("MODIFIED", one))
    return found


class WatchOutput:
    """Prints changes in a format of `-o`.

    A table has one header, and the event in its first column. The other formats have the event with
    `with_events` only, and without it no deletions, which nobody could tell from additions.
    """

    def __init__(self, output: str, *, with_events: bool) -> None:
        self._output = output
        self._with_events = with_events
        self._table: GrowingTable | None = None

    def show(self, listing: Listing, found: Iterable[Change]) -> None:
        """Prints these changes at once."""
        sys.stdout.write(self._text(listing, list(found)))
        sys.stdout.flush()

    def _text(self, listing: Listing, found: list[Change]) -> str:
        if self._output in ("table", "wide"):
            columns = listing.shown(self._output)
            if self._table is None:
                self._table = GrowingTable(["EVENT", *(one.header for one in columns)])
            return self._table.text(
                [[f"{event:8}", *(one.value(item) for one in columns)] for event, item in found]
            )
        if not self._with_events:
            found = [one for one in found if one.event != "DELETED"]
        return "".join(self._one(listing, *one) for one in found)

    def _one(self, listing: Listing, event: str, item: Item) -> str:
        if self._output == "name":
            name = f"{listing.kind.lower()}/{visible(listing.name(item))}"
            return f"{event:8} {name}\n" if self._with_events else f"{name}\n"
        value = {"type": event, "object": item} if self._with_events else item
        if self._output == "yaml":
            return f"---\n{as_yaml(value)}"
        return as_json(value)
