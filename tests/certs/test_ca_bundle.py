"""Which entries of the webhook configuration get the bundle."""

from __future__ import annotations

import base64

from certs.ca_bundle import ca_bundle_patch
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
