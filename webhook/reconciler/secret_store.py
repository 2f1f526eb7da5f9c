"""The interface to bootstrap Secrets: those of a cluster, or in local mode's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from certs import Stored


class SecretStore(Protocol):
    """The bootstrap Secrets, one per namespace. `entries` states what is in them."""

    def read(self, namespace: str) -> Stored | None:
        """The namespace's Secret, or None."""

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        """Creates (`over` is None) or replaces. Raises certs.VersionConflict when it has changed since."""

    def delete(self, namespace: str, over: Stored) -> None:
        """Deletes. Raises certs.VersionConflict when it has changed since."""
