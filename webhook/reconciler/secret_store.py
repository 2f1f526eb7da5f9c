"""Where bootstrap credentials go: Secrets of a cluster, or local mode's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from certs import Stored


class SecretStore(Protocol):
    """The bootstrap Secrets, one a namespace: for each service account its credential document."""

    def read(self, namespace: str) -> Stored | None:
        """None when the namespace has none."""

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        """Creates (`over` is None) or replaces. Raises certs.VersionConflict when it has changed since."""

    def delete(self, namespace: str, over: Stored) -> None:
        """Deletes. Raises certs.VersionConflict when it has changed since."""
