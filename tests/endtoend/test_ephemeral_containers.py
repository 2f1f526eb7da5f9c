"""A debugger in a running Pod, on a real API server."""

from __future__ import annotations

import json

from tests.endtoend.installation import Installation, labelled_namespace
from tests.pods import container, pod

NAMESPACE = "debugging"


def test_a_container_that_is_added_to_a_pod_gets_the_sockets(installed: Installation) -> None:
    with labelled_namespace(installed, NAMESPACE):
        # It is never scheduled: nothing has to run.
        unscheduled = pod(nodeSelector={"of": "nowhere"})
        installed.kubectl("create", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(unscheduled))
        for name in ("one", "two"):
            added = json.dumps({"spec": {"ephemeralContainers": [container(name)]}})
            installed.kubectl(
                "patch", "pod", "web-1", "-n", NAMESPACE, "--subresource=ephemeralcontainers", "-p", added
            )
        found = installed.get("pod", "web-1", "-n", NAMESPACE)["spec"]["ephemeralContainers"]
        assert sorted(one["name"] for one in found) == ["one", "two"]  # the API server puts new ones first
        for one in found:
            assert {"name": "vanadium-socket", "mountPath": "/run/vanadium", "readOnly": True} in one[
                "volumeMounts"
            ]
            assert [each["name"] for each in one["env"]] == ["V23_AGENT_PATH", "SPIFFE_ENDPOINT_SOCKET"]
