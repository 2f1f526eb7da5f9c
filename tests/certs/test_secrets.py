"""Of two writers of a Secret one wins, and the other is told. The API server's answers are imitated."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from certs import Stored, VersionConflict
from certs.api_server import ApiServerRefusal
from certs.kubernetes_store import KubernetesStore
from certs.secrets import VersionedSecrets


class API:
    """One Secret, with a resourceVersion that each write changes."""

    def __init__(self) -> None:
        self.data: dict[str, str] | None = None
        self.version = 1
        self.written: Any = None
        self.refuses = False

    def json(self, method: str, path: str, *, body: Any = None) -> Any:
        assert path == "/api/v1/namespaces/shop/secrets" + ("" if method == "POST" else "/one")
        if self.refuses:
            raise ApiServerRefusal(403)
        if (self.data is None) != (method == "POST"):
            raise ApiServerRefusal(404 if self.data is None else 409)
        if method == "GET":
            metadata = {"name": "one", "namespace": "shop", "resourceVersion": str(self.version)}
            return {"metadata": metadata, "data": self.data}
        over = (body["preconditions"] if method == "DELETE" else body["metadata"]).get("resourceVersion")
        if over != (None if method == "POST" else str(self.version)):
            raise ApiServerRefusal(409)
        if method == "DELETE":
            self.data = None
            return {}
        self.version += 1
        self.written = body
        texts = body["stringData"].items()
        self.data = {key: base64.b64encode(text.encode()).decode() for key, text in texts}
        return body


@pytest.fixture
def api() -> Any:
    return API()


def test_a_secret_is_written_over_the_version_that_was_read(api: Any) -> None:
    secrets = VersionedSecrets(api, "vanadium.io/bootstrap", {"a": "b"})
    assert secrets.read("shop", "one") is None
    secrets.write("shop", "one", {"web": "credential"}, None)
    assert (api.written["type"], api.written["metadata"]["labels"]) == ("vanadium.io/bootstrap", {"a": "b"})
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


def test_what_the_api_server_refuses_is_no_conflict(api: Any) -> None:
    api.refuses = True
    secrets, over = VersionedSecrets(api, "Opaque"), Stored({}, "1")
    with pytest.raises(ApiServerRefusal):
        secrets.read("shop", "one")
    with pytest.raises(ApiServerRefusal):
        secrets.write("shop", "one", {}, None)
    with pytest.raises(ApiServerRefusal):
        secrets.write("shop", "one", {}, over)
    with pytest.raises(ApiServerRefusal):
        secrets.delete("shop", "one", over)


def test_attack_bytes_that_are_no_text_can_be_read(api: Any) -> None:
    """They were the end of the thread that read them."""
    api.data = {"tls.crt": base64.b64encode(b"\xff\xfe").decode(), "tls.key": "", "good": "Z29vZA=="}
    stored = KubernetesStore(api, "shop").read("one")
    assert stored == Stored({"tls.crt": "\ufffd\ufffd", "tls.key": "", "good": "good"}, "1")
