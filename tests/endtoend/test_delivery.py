"""`vanadium.io/delivery: volume` at a real API server, with the webhook's own rights: what it admits, what it
fills in by default, and what Pod Security `restricted` permits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from blessings import Roots
from cluster_agent.kubernetes.trust_bundles import bundle
from tests.cluster_agents import ADMINISTRATOR
from tests.endtoend.installation import Installation
from tests.endtoend.test_federated_volumes import root_of
from tests.pods import pod, restricted_container
from tests.vkube.command import vkube
from tests.waiting import wait_for
from webhook.layout import TRUST_BUNDLE
from webhook.volume import is_ours

NAMESPACE = "delivery"
FEDERATED = "vanadium.io:replica:federated-partner.example"
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "delivery-1-37"}}


@pytest.fixture
def restricted_namespace(installed: Installation) -> Iterator[str]:
    labels = {"vanadium.io/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    installed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    installed.wait_until_injected(NAMESPACE)
    try:
        yield NAMESPACE
    finally:
        installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
        installed.kubectl("delete", "node", NODE["metadata"]["name"], "--ignore-not-found")  # type: ignore[index]
        installed.kubectl("delete", "clustertrustbundle", FEDERATED, "--ignore-not-found")


def created(installed: Installation, subject: dict[str, Any]) -> dict[str, Any]:
    """The Pod as the API server would have it, or `{}` when it is refused."""
    arguments = ("create", "--dry-run=server", "-o", "json", "-n", NAMESPACE, "-f", "-")
    answer = installed.kubectl(*arguments, stdin=json.dumps(subject), check=False)
    return dict(json.loads(answer)) if answer else {}


def asking(delivery: str) -> dict[str, Any]:
    # The default service account may not be there yet.
    return pod(
        restricted_container(),
        annotations={"vanadium.io/delivery": delivery},
        automountServiceAccountToken=False,
    )


def logged(installed: Installation) -> dict[str, Any]:
    """What the webhook found last."""
    lines = (installed.logs / "webhook.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if '"identities in volumes"' in line]
    return found[-1] if found else {}


def test_a_volume_is_refused_at_once_where_no_kubelet_can_and_admitted_as_restricted_where_one_can(
    installed: Installation, restricted_namespace: str
) -> None:
    if not installed.kubectl("get", "clustertrustbundle", TRUST_BUNDLE, "--ignore-not-found"):
        with installed.control_plane_client(ADMINISTRATOR) as administrator:
            roots = Roots.from_json(administrator.get("/v1/roots").json()["roots"])
        installed.apply(bundle(TRUST_BUNDLE, (one.certificate for one in roots)))
    wait_for("the nodes", lambda: "have a kubelet older" in str(logged(installed).get("objection")))
    refused = installed.control_plane.kubectl(
        *("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-"),
        stdin=json.dumps(asking("volume")),
        check=False,
    )
    assert "vanadium.io/delivery is volume, and " in refused.stderr
    assert "have a kubelet older than 1.37" in refused.stderr

    installed.apply(NODE)
    version = {"status": {"nodeInfo": {"kubeletVersion": "v1.37.2"}}}
    installed.kubectl(
        *("patch", "node", "delivery-1-37", "--subresource=status", "--type=merge", "-p", json.dumps(version))
    )
    admitted = wait_for("a Pod with the volume", lambda: created(installed, asking("volume")))
    (volume,) = [one for one in admitted["spec"]["volumes"] if one["name"] == "vanadium-identity"]
    assert is_ours(volume), volume
    assert "initContainers" not in admitted["spec"]
    again = {key: admitted[key] for key in ("apiVersion", "kind", "spec")}
    again["metadata"] = {"name": "again", "annotations": admitted["metadata"]["annotations"]}
    assert created(installed, again)["spec"]["volumes"] == admitted["spec"]["volumes"]
    assert len(volume["projected"]["sources"]) == 2
    installed.apply(bundle(FEDERATED, [root_of("partner.example").certificate]))

    def federated() -> list[dict[str, Any]]:
        volumes = created(installed, asking("volume"))["spec"]["volumes"]
        (made,) = [one for one in volumes if one["name"] == "vanadium-identity"]
        assert is_ours(made), made
        return [one["clusterTrustBundle"] for one in made["projected"]["sources"][2:]]

    (source,) = wait_for("the federated roots", federated)
    assert source == {"name": FEDERATED, "path": "federated/partner.example.crt", "optional": True}
    # The other nodes of this control plane state no version.
    automatic = created(installed, asking("auto"))
    assert [one["name"] for one in automatic["spec"]["initContainers"]] == ["vanadium-pod-agent"]
    assert "auto" in explained(installed, asking("auto"))


def explained(installed: Installation, subject: dict[str, Any]) -> str:
    """The decision, in the words of `vkube explain`."""
    file = installed.logs / "asking.json"
    file.write_text(json.dumps(subject))
    text = vkube("explain", file, "-n", NAMESPACE, "--kubeconfig", installed.control_plane.kubeconfig)
    return next(line for line in text.splitlines() if line.startswith("Decision"))
