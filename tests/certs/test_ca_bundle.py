"""Which entries of the webhook configuration get the bundle."""

from __future__ import annotations

import base64
from types import SimpleNamespace
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


def test_no_call_waits_for_ever() -> None:
    timeouts: list[object] = []

    class API:
        def read_mutating_webhook_configuration(self, _name: str, **options: object) -> Any:
            timeouts.append(options.get("_request_timeout"))
            entry = SimpleNamespace(client_config=SimpleNamespace(ca_bundle=None))
            return SimpleNamespace(webhooks=[entry], metadata=SimpleNamespace(resource_version="1"))

        def patch_mutating_webhook_configuration(self, _name: str, _body: Any, **options: object) -> None:
            timeouts.append(options.get("_request_timeout"))

    api: Any = API()
    assert publish_ca_bundle(api, "vanadium-webhook", ROOTS)
    assert timeouts == [(5, 10)] * 2
