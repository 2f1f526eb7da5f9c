"""Where bootstrap credentials go: Secrets of a cluster, or local mode's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Conflict(Exception):  # says what happened; the writer reads again
    """Somebody else wrote the Secret first."""


@dataclass(frozen=True)
class StoredSecret:
    """A Secret's data (service account → credential document) and the version that was read."""

    data: Mapping[str, str]
    version: str


class SecretStore(Protocol):
    """The bootstrap Secrets, one a namespace."""

    def read(self, namespace: str) -> StoredSecret | None:
        """None when the namespace has none."""

    def write(self, namespace: str, data: Mapping[str, str], over: StoredSecret | None) -> None:
        """Creates (`over` is None) or replaces. Raises Conflict when it holds something else by now."""

    def delete(self, namespace: str, over: StoredSecret) -> None:
        """Deletes. Raises Conflict when it holds something else by now."""
