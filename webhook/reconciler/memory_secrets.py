"""Bootstrap Secrets in memory, for local mode, which has no cluster to store them in."""

from __future__ import annotations

import json
from collections.abc import Mapping

from certs import Stored, VersionConflict


class MemorySecrets:
    """A SecretStore with public `secrets` (namespace → the Secret's data)."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}

    def read(self, namespace: str) -> Stored | None:
        data = self.secrets.get(namespace)
        return None if data is None else Stored(dict(data), json.dumps(data, sort_keys=True))

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        self._check(namespace, over)
        self.secrets[namespace] = dict(data)

    def delete(self, namespace: str, over: Stored) -> None:
        self._check(namespace, over)
        del self.secrets[namespace]

    def _check(self, namespace: str, over: Stored | None) -> None:
        if self.read(namespace) != over:
            raise VersionConflict(f"the Secret of {namespace} was written by another client")
