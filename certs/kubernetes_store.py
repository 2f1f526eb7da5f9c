"""Certificates in Secrets of type kubernetes.io/tls.

Two webhook replicas may renew at once: the API server accepts the first write only, by its resourceVersion,
and the other replica reads what the first one wrote.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http import HTTPStatus

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from certs.store import Conflict, Stored

_LABELS = {"app.kubernetes.io/part-of": "vanadium-cluster"}


class KubernetesStore:
    """The Secrets of one namespace."""

    def __init__(self, api: client.CoreV1Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def read(self, name: str) -> Stored | None:
        try:
            secret = self._api.read_namespaced_secret(name, self._namespace)
        except ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        files = {key: base64.b64decode(value).decode() for key, value in (secret.data or {}).items()}
        return Stored(files, str(secret.metadata.resource_version if secret.metadata else ""))

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        metadata = client.V1ObjectMeta(name=name, namespace=self._namespace, labels=_LABELS)
        body = client.V1Secret(
            api_version="v1",
            kind="Secret",
            type="kubernetes.io/tls",
            metadata=metadata,
            string_data=dict(files),
        )
        try:
            if over is None:
                self._api.create_namespaced_secret(self._namespace, body)
            else:
                metadata.resource_version = over.version
                self._api.replace_namespaced_secret(name, self._namespace, body)
        except ApiException as error:
            if error.status in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise Conflict(
                    f"Secret {self._namespace}/{name} changed while it was being renewed"
                ) from error
            raise
