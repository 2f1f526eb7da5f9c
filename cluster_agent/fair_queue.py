"""A bounded queue that is shared fairly: by round robin over tenants, and over the tenants below each.

A tenant is a path, such as namespace, service account and Pod. Each of two namespaces has every second turn,
no matter how many items, or how many service accounts, the other one has waiting. When the queue is full, the
youngest item of the tenant that has most of them gives way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

Tenant: TypeAlias = Sequence[str]
"""For whom an item waits, from the widest to the narrowest, such as (namespace, service account)."""

_Item = TypeVar("_Item")


class FairQueue(Generic[_Item]):
    """At most `most` items."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._root: _Branch[_Item] = _Branch()

    def __len__(self) -> int:
        return self._root.size

    def put(self, item: _Item, tenant: Tenant) -> _Item | None:
        """Adds an item. Returns the one that gives way, if the queue is full: it may be `item` itself."""
        yielded = None
        if self._root.size >= self._most:
            yielded = self._root.give_way(_parts(tenant))
            if yielded is None:
                return item
        self._root.put(_parts(tenant), item)
        return yielded

    def take(self, may: Callable[[str], bool] = lambda _first: True) -> _Item | None:
        """The next item, of a tenant whose first part may have a turn; None when there is none."""
        for first in self._root.branches:
            if may(first):
                return self._root.take(first)
        return None

    def remove(self, item: _Item, tenant: Tenant) -> bool:
        """Takes an item out, and returns whether it was there."""
        return self._root.remove(_parts(tenant), item)


def _parts(tenant: Tenant) -> list[str]:
    # Items are at the ends of paths only: a tenant and one below it have turns like any two.
    return [*tenant, ""]


class _Branch(Generic[_Item]):
    """The items of the tenants whose paths begin in one way: `size` of them, at this end or in `branches`,
    of which the first has the next turn."""

    __slots__ = ("branches", "items", "size")

    def __init__(self) -> None:
        self.size = 0
        self.items: deque[_Item] = deque()
        self.branches: dict[str, _Branch[_Item]] = {}

    def put(self, path: Sequence[str], item: _Item) -> None:
        branch = self
        branch.size += 1
        for part in path:
            branch = branch.branches.setdefault(part, _Branch())
            branch.size += 1
        branch.items.append(item)

    def take(self, part: str | None = None) -> _Item:
        self.size -= 1
        if not self.branches:
            return self.items.popleft()
        part = next(iter(self.branches)) if part is None else part
        branch = self.branches.pop(part)
        item = branch.take()
        if branch.size:
            self.branches[part] = branch  # the last now
        return item

    def remove(self, path: Sequence[str], item: _Item) -> bool:
        if not path:
            if item not in self.items:
                return False
            self.items.remove(item)
        else:
            branch = self.branches.get(path[0])
            if branch is None or not branch.remove(path[1:], item):
                return False
            if not branch.size:
                del self.branches[path[0]]
        self.size -= 1
        return True

    def give_way(self, newcomer: Sequence[str] | None) -> _Item | None:
        """Takes out the youngest item of the tenant that has most; None when that is the newcomer's, which is
        None where it is no longer on the way."""
        if not self.branches:
            if newcomer is not None:
                return None
            self.size -= 1
            return self.items.pop()
        own = newcomer[0] if newcomer else None
        # Of several that have as many, the newcomer's.
        part = max(self.branches, key=lambda one: (self.branches[one].size, one == own))
        branch = self.branches[part]
        item = branch.give_way(newcomer[1:] if newcomer and part == own else None)
        if item is not None:
            self.size -= 1
            if not branch.size:
                del self.branches[part]
        return item
