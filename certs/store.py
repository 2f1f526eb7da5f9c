"""Where certificates are kept: named sets of files, written only over the version that was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Conflict(Exception):
    """Somebody else wrote first: read again."""


@dataclass(frozen=True)
class Stored:
    """The files of one name, and the version that a writer must name to replace them."""

    files: Mapping[str, str]
    version: str


class Store(Protocol):
    """Secrets of a cluster, or directories."""

    def read(self, name: str) -> Stored | None:
        """None when there is nothing under that name."""

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        """Creates (`over` is None) or replaces. Raises Conflict when the name holds something else by now."""
