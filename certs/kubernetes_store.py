"""Certificates in Secrets of type kubernetes.io/tls. Two webhook replicas may renew at once."""

from __future__ import annotations

from collections.abc import Mapping

from certs.api_server import BoundedApiClient
from certs.secrets import VersionedSecrets
from certs.store import Stored


class KubernetesStore:
    """The Secrets of one namespace."""

    def __init__(self, api: BoundedApiClient, namespace: str) -> None:
        self._secrets = VersionedSecrets(api, "kubernetes.io/tls")
        self._namespace = namespace

    def read(self, name: str) -> Stored | None:
        return self._secrets.read(self._namespace, name)

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        self._secrets.write(self._namespace, name, files, over)
