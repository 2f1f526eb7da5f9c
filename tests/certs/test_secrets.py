"""Of two writers of a Secret one wins, and the other is told. The API server's answers are imitated."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from certs import Stored, VersionConflict
from certs.kubernetes_store import KubernetesStore
from certs.secrets import VersionedSecrets


class API:
    """One Secret, with a resourceVersion that each write changes."""

    def __init__(self) -> None:
        self.data: dict[str, bytes | str] | None = None
        self.version = 1
        self.written: Any = None
        self.timeouts: list[object] = []

    def read_namespaced_secret(self, name: str, namespace: str, **options: object) -> client.V1Secret:
        self.timeouts.append(options.get("_request_timeout"))
        if self.data is None:
            raise ApiException(404)
        metadata = client.V1ObjectMeta(name=name, namespace=namespace, resource_version=str(self.version))
        return client.V1Secret(metadata=metadata, data=self.data)

    def create_namespaced_secret(self, _namespace: str, body: Any, **options: object) -> None:
        self.timeouts.append(options.get("_request_timeout"))
        if self.data is not None:
            raise ApiException(409)
        self._write(body)

    def replace_namespaced_secret(self, _name: str, _namespace: str, body: Any, **options: object) -> None:
        self.timeouts.append(options.get("_request_timeout"))
        if self.data is None:
            raise ApiException(404)
        if body.metadata.resource_version != str(self.version):
            raise ApiException(409)
        self._write(body)

    def delete_namespaced_secret(self, _name: str, _namespace: str, body: Any, **options: object) -> None:
        self.timeouts.append(options.get("_request_timeout"))
        if self.data is None:
            raise ApiException(404)
        if body.preconditions.resource_version != str(self.version):
            raise ApiException(409)
        self.data = None

    def _write(self, body: Any) -> None:
        self.version += 1
        self.written = body
        self.data = {key: base64.b64encode(text.encode()).decode() for key, text in body.string_data.items()}


@pytest.fixture
def api() -> Any:
    return API()


def test_a_secret_is_written_over_the_version_that_was_read(api: Any) -> None:
    secrets = VersionedSecrets(api, "vanadium.io/bootstrap", {"a": "b"})
    assert secrets.read("shop", "one") is None
    secrets.write("shop", "one", {"web": "credential"}, None)
    assert (api.written.type, api.written.metadata.labels) == ("vanadium.io/bootstrap", {"a": "b"})
    first = secrets.read("shop", "one")
    assert first == Stored({"web": "credential"}, "2")
    secrets.write("shop", "one", {"web": "another"}, first)
    assert first is not None
    too_late = pytest.raises(VersionConflict, match="Secret shop/one was written by another client")
    for over in (first, None):
        with too_late:
            secrets.write("shop", "one", {}, over)
    with too_late:
        secrets.delete("shop", "one", first)
    current = secrets.read("shop", "one")
    assert current is not None
    assert current == Stored({"web": "another"}, "3")
    secrets.delete("shop", "one", current)
    secrets.delete("shop", "one", current)
    with pytest.raises(VersionConflict):
        secrets.write("shop", "one", {}, current)
    assert set(api.timeouts) == {(5, 10)}


def test_what_the_api_server_refuses_is_no_conflict(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise ApiException(403)

    for call in ("read", "create", "replace", "delete"):
        monkeypatch.setattr(API, f"{call}_namespaced_secret", refuse)
    secrets, over = VersionedSecrets(api, "Opaque"), Stored({}, "1")
    with pytest.raises(ApiException):
        secrets.read("shop", "one")
    with pytest.raises(ApiException):
        secrets.write("shop", "one", {}, None)
    with pytest.raises(ApiException):
        secrets.write("shop", "one", {}, over)
    with pytest.raises(ApiException):
        secrets.delete("shop", "one", over)


def test_attack_bytes_that_are_no_text_can_be_read(api: Any) -> None:
    """They were the end of the thread that read them."""
    api.data = {"tls.crt": base64.b64encode(b"\xff\xfe").decode(), "tls.key": "", "good": "Z29vZA=="}
    stored = KubernetesStore(api, "vanadium-system").read("webhook-serving")
    assert stored == Stored({"tls.crt": "\ufffd\ufffd", "tls.key": "", "good": "good"}, "1")
