"""The bootstrap Secrets of a cluster. Only the one name is read or written, so RBAC can say so."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http import HTTPStatus

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from webhook.layout import BOOTSTRAP_SECRET
from webhook.reconciler.secret_store import Conflict, StoredSecret

# A type of our own cannot be filled in by Kubernetes' controllers, as a service-account-token Secret is.
TYPE = "vanadium.io/bootstrap"
_LABELS = {
    "app.kubernetes.io/part-of": "vanadium-cluster",
    "app.kubernetes.io/managed-by": "vanadium-webhook",
}


class KubernetesSecrets:
    """A SecretStore over the API server."""

    def __init__(self, api: client.CoreV1Api) -> None:
        self._api = api

    def read(self, namespace: str) -> StoredSecret | None:
        try:
            secret = self._api.read_namespaced_secret(BOOTSTRAP_SECRET, namespace)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        data = {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items()}
        return StoredSecret(data, str(secret.metadata.resource_version if secret.metadata else ""))

    def write(self, namespace: str, data: Mapping[str, str], over: StoredSecret | None) -> None:
        metadata = client.V1ObjectMeta(name=BOOTSTRAP_SECRET, namespace=namespace, labels=_LABELS)
        body = client.V1Secret(
            api_version="v1", kind="Secret", type=TYPE, metadata=metadata, string_data=dict(data)
        )
        try:
            if over is None:
                self._api.create_namespaced_secret(namespace, body)
            else:
                metadata.resource_version = over.version
                self._api.replace_namespaced_secret(BOOTSTRAP_SECRET, namespace, body)
        except ApiException as error:
            raise _conflict_or(error, namespace) from error

    def delete(self, namespace: str, over: StoredSecret) -> None:
        preconditions = client.V1Preconditions(resource_version=over.version)
        try:
            self._api.delete_namespaced_secret(
                BOOTSTRAP_SECRET, namespace, body=client.V1DeleteOptions(preconditions=preconditions)
            )
        except ApiException as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise _conflict_or(error, namespace) from error


def _conflict_or(error: ApiException, namespace: str) -> Exception:
    if error.status == HTTPStatus.CONFLICT:
        return Conflict(f"Secret {namespace}/{BOOTSTRAP_SECRET} was written by somebody else")
    return error
