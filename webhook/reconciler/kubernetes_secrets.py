"""The bootstrap Secrets of a cluster. Only their one name is read or written, so that RBAC can be limited to
it."""

from __future__ import annotations

from collections.abc import Mapping

from certs import Stored
from certs.api_server import BoundedApiClient
from certs.secrets import PART_OF, VersionedSecrets
from webhook.layout import BOOTSTRAP_SECRET

# Kubernetes' controllers fill in Secrets of type service-account-token, but none of a type of our own.
TYPE = "vanadium.io/bootstrap"


class KubernetesSecrets:
    """A SecretStore in the API server."""

    def __init__(self, api: BoundedApiClient) -> None:
        labels = {**PART_OF, "app.kubernetes.io/managed-by": "vanadium-webhook"}
        self._secrets = VersionedSecrets(api, TYPE, labels)

    def read(self, namespace: str) -> Stored | None:
        return self._secrets.read(namespace, BOOTSTRAP_SECRET)

    def write(self, namespace: str, data: Mapping[str, str], over: Stored | None) -> None:
        self._secrets.write(namespace, BOOTSTRAP_SECRET, data, over)

    def delete(self, namespace: str, over: Stored) -> None:
        self._secrets.delete(namespace, BOOTSTRAP_SECRET, over)
