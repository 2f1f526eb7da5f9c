"""What vkube tells of a Pod whose kubelet has no certificate for it yet, on a real API server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster_agent.kubernetes.trust_bundles import bundle
from tests.endtoend.installation import Installation, flags, labelled_namespace
from tests.endtoend.test_federated_volumes import root_of
from tests.kubelets import REQUESTS, Kubelets
from tests.pods import pod, restricted_container
from tests.vkube.command import called, vkube
from tests.waiting import wait_for
from vkube.admission.waiting import PATIENCE
from webhook.layout import TRUST_BUNDLE

NAMESPACE, NODE = "vkube-volumes", "vkube-volumes-node"


@pytest.fixture
def starting(installed: Installation) -> Iterator[tuple[Kubelets, dict[str, Any]]]:
    """A Pod with a volume, on a node that does not ask."""
    with Kubelets(installed.control_plane) as kubelets:
        kubelets.namespace(NAMESPACE)
        kubelets.node(NODE)
        try:
            yield kubelets, kubelets.pod(NAMESPACE, "web-1", node=NODE)
        finally:
            installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
            installed.kubectl("delete", "node", NODE)


def deny(kubelets: Kubelets, request: dict[str, Any]) -> None:
    """As the cluster agent does it for a revoked application."""
    condition = {
        "type": "Denied",
        "status": "True",
        "reason": "ApplicationRevoked",
        "message": "an administrator revoked it",
        "lastTransitionTime": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    answer = kubelets.api.patch(
        f"{REQUESTS.format(NAMESPACE)}/{request['metadata']['name']}/status",
        json={"status": {"conditions": [condition]}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.is_success, answer.text


def test_a_pod_that_waits_for_its_certificate_is_told_with_why_and_what_to_do(
    installed: Installation, starting: tuple[Kubelets, dict[str, Any]]
) -> None:
    kubelets, waits = starting
    here = ["-n", NAMESPACE, "--kubeconfig", installed.control_plane.kubeconfig]
    told = called("events", "web-1", *here)
    assert "no longer has" not in told.stderr
    # No cluster agent signs for kubelets here, but another file's tests may have made the roots.
    why = r"there is no ClusterTrustBundle vanadium\.io:replica:roots|nodes have a kubelet older than 1\.37"
    assert re.search(f"it has no identity yet: .*({why})", told.stderr)
    assert "Waits:" in called("explain", "web-1", *here).stdout

    deny(kubelets, kubelets.asked(waits))
    why = "its certificate was denied: ApplicationRevoked: an administrator revoked it"
    explained = called("explain", "web-1", *here)
    assert explained.code == 4
    assert f"web-1: {why}" in explained.stdout
    assert "delete the Pod: its kubelet does not ask again" in explained.stdout
    assert f"it has no identity yet: {why}" in called("events", "web-1", *here).stderr

    def in_status() -> list[dict[str, str]]:
        ended = called("status", "-n", NAMESPACE, "-o", "json", *flags(installed))
        return list(json.loads(ended.stdout)["withoutIdentity"])

    (row,) = wait_for("a Pod that has waited for long", in_status, PATIENCE.total_seconds() + 60)
    assert (row["pod"], row["why"]) == ("web-1", why)
    checked = json.loads(called("check", "-o", "json", *flags(installed)).stdout)["items"]
    (found,) = [
        one["what"] for one in checked if one["name"] == "kubelets have a certificate for each volume"
    ]
    assert found == f"{NAMESPACE}/web-1: {why}"


@pytest.fixture
def capable(installed: Installation) -> Iterator[None]:
    """A node that can, and the roots."""
    node = f"{NODE}-1-37"
    with Kubelets(installed.control_plane) as kubelets:
        kubelets.node(node)
    version = {"status": {"nodeInfo": {"kubeletVersion": "v1.37.2"}}}
    patch = ("--subresource=status", "--type=merge", "-p", json.dumps(version))
    installed.kubectl("patch", "node", node, *patch)
    installed.apply(bundle(TRUST_BUNDLE, [root_of("partner.example").certificate]))
    try:
        yield
    finally:
        installed.kubectl("delete", "clustertrustbundle", TRUST_BUNDLE)
        installed.kubectl("delete", "node", node)


@pytest.mark.usefixtures("capable")
def test_a_namespace_that_changes_is_told_which_pods_keep_what_they_have(installed: Installation) -> None:
    name = f"{NAMESPACE}-changing"
    with labelled_namespace(installed, name):
        made = pod(restricted_container(), name="web-1", nodeSelector={"nowhere": "yes"})
        made["metadata"]["namespace"] = name
        installed.apply(made)

        def annotate(value: str) -> None:
            installed.kubectl("annotate", "namespace", name, f"vanadium.io/delivery={value}", "--overwrite")

        def explained() -> tuple[int, str]:
            ended = called("explain", "web-1", "-n", name, *flags(installed))
            return ended.code, ended.stdout

        assert "--outdated" not in explained()[1]
        dry = ("restart", name, "--outdated", "--dry-run", *flags(installed))
        assert "pod/web-1 has no controller" in called(*dry).stderr  # its image is not the Deployment's
        annotate("volume")
        # This installation's certificates live less than an hour.
        assert "--outdated" not in explained()[1]
        assert "pod/web-1" not in called(*dry).stderr
        vkube("register", name, "default", "acme:prod:VolumesTold", "--ttl", "7200", *flags(installed))
        code, text = explained()
        assert code == 0
        assert f"for the volume that new Pods get: vkube restart {name} --outdated" in text
        assert "pod/web-1 has no controller" in called(*dry).stderr

        annotate("volumes")
        refused = called("preflight", name, *flags(installed))
        assert refused.code == 4
        assert (
            "pod/web-1: the namespace's annotation vanadium.io/delivery: 'volumes': expected"
            in refused.stderr
        )
