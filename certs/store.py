"""The interface of a certificate store: named sets of files, written by compare-and-swap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class VersionConflict(Exception):
    """Another writer came first: read again."""


@dataclass(frozen=True)
class Stored:
    """The files of one name, and the version that a writer must state to replace them."""

    files: Mapping[str, str]
    version: str


class Store(Protocol):
    """Certificates in a cluster's Secrets, or in directories."""

    def read(self, name: str) -> Stored | None:
        """The files stored under `name`, or None."""

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        """Creates (`over` is None) or replaces. Raises VersionConflict when another version is stored."""
