"""The webhook, with the rights of its own service account, knows its callers."""

from __future__ import annotations

import json

from tests.endtoend.installation import Installation
from tests.waiting import wait_for


def test_the_addresses_that_the_api_server_states_are_known(installed: Installation) -> None:
    # On loopback, a control plane states none itself.
    installed.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "namespace": "default"},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.10"]}],
            "ports": [{"name": "https", "port": 6443}],
        }
    )
    log = installed.logs / "webhook.log"
    lines = wait_for(
        "the webhook's line",
        lambda: [line for line in log.read_text().splitlines() if '"API servers known"' in line],
        story=installed.logs_end,
    )
    assert json.loads(lines[-1])["addresses"] == ["192.0.2.10"]
