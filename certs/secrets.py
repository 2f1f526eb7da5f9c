"""Kubernetes Secrets that several writers may change: each write states the version that it replaces.

The API server accepts the first of two writes only, by the Secret's resourceVersion, and the other writer
reads what the first one wrote. The control plane's certificates are kept in this way, and the reconciler's
bootstrap credentials; it stands here and not in `service` because it needs a client of the API server.
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from certs.api_server import ApiServerRefusal, BoundedApiClient
from certs.store import Stored, VersionConflict

PART_OF = {"app.kubernetes.io/part-of": "vanadium-cluster"}


class VersionedSecrets:
    """Secrets of one type. Every method raises ApiServerRefusal when the API server refuses."""

    def __init__(self, api: BoundedApiClient, secret_type: str, labels: Mapping[str, str] = PART_OF) -> None:
        """`labels` are given to what is written."""
        self._api = api
        self._type = secret_type
        self._labels = dict(labels)

    def read(self, namespace: str, name: str) -> Stored | None:
        """None when there is none.

        What is not UTF-8 is read with U+FFFD in its place: no certificate and no credential contains it, so
        the reader finds that entry unusable, like any other that another program wrote.
        """
        try:
            secret = self._api.json("GET", _path(namespace, name))
        except ApiServerRefusal as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        files = {
            key: base64.b64decode(value).decode(errors="replace")
            for key, value in (secret.get("data") or {}).items()
        }
        return Stored(files, str(secret["metadata"]["resourceVersion"]))

    def write(self, namespace: str, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        """Creates (`over` is None) or replaces. Raises VersionConflict when another version is stored."""
        metadata = {"name": name, "namespace": namespace, "labels": self._labels}
        body = {"apiVersion": "v1", "kind": "Secret", "type": self._type, "stringData": dict(files)}
        try:
            if over is None:
                self._api.json("POST", _path(namespace), body={**body, "metadata": metadata})
            else:
                versioned = {**metadata, "resourceVersion": over.version}
                self._api.json("PUT", _path(namespace, name), body={**body, "metadata": versioned})
        except ApiServerRefusal as error:
            if error.status == HTTPStatus.CONFLICT or (over and error.status == HTTPStatus.NOT_FOUND):
                raise _conflict(namespace, name) from error
            raise

    def delete(self, namespace: str, name: str, over: Stored) -> None:
        """Deletes what is there. Raises VersionConflict when the stored version is another by now."""
        body = {"preconditions": {"resourceVersion": over.version}}
        try:
            self._api.json("DELETE", _path(namespace, name), body=body)
        except ApiServerRefusal as error:
            if error.status == HTTPStatus.CONFLICT:
                raise _conflict(namespace, name) from error
            if error.status != HTTPStatus.NOT_FOUND:
                raise


def _conflict(namespace: str, name: str) -> VersionConflict:
    return VersionConflict(f"Secret {namespace}/{name} was written by another client")


def _path(namespace: str, *name: str) -> str:
    return "/".join(["/api/v1/namespaces", quote(namespace), "secrets", *map(quote, name)])
