"""Which entries of the webhook configuration get the bundle."""

from __future__ import annotations

import base64
from typing import Any

from certs.ca_bundle import ca_bundle_patch, publish_ca_bundle
from tests.chains import realm

ROOTS = realm().roots
RIGHT = base64.b64encode(ROOTS.to_pem().encode()).decode()


def test_every_entry_that_is_not_right_gets_the_bundle() -> None:
    patch = ca_bundle_patch([None, RIGHT, "b2xk"], ROOTS, "42")
    assert patch == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "42"},
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": RIGHT},
        {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": RIGHT},
    ]


def test_nothing_is_written_when_all_are_right() -> None:
    assert ca_bundle_patch([RIGHT, RIGHT], ROOTS, "42") == []


def test_the_bundle_is_written_once() -> None:
    calls: list[tuple[str, str | None]] = []
    entry: dict[str, Any] = {"clientConfig": {}}

    class API:
        def json(self, method: str, path: str, *, body: Any = None, content_type: str | None = None) -> Any:
            assert path.endswith("/mutatingwebhookconfigurations/vanadium-webhook")
            calls.append((method, content_type))
            if method == "PATCH":
                entry["clientConfig"]["caBundle"] = body[-1]["value"]
            return {"webhooks": [entry], "metadata": {"resourceVersion": "1"}}

    api: Any = API()
    assert publish_ca_bundle(api, "vanadium-webhook", ROOTS)
    assert not publish_ca_bundle(api, "vanadium-webhook", ROOTS)
    assert calls == [("GET", None), ("PATCH", "application/json-patch+json"), ("GET", None)]
