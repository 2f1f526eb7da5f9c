"""`vanadium.io/delivery: volume` at a real API server, with the webhook's own rights: what it admits, what it
fills in by default, and what Pod Security `restricted` permits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from blessings import Roots
from cluster_agent.kubernetes.trust_bundles import bundle
from tests.cluster_agents import ADMINISTRATOR
from tests.endtoend.installation import TTL_SECONDS, Installation, flags
from tests.endtoend.test_federated_volumes import root_of
from tests.pods import pod, restricted_container
from tests.vkube.command import called, vkube
from tests.waiting import wait_for
from webhook.layout import TRUST_BUNDLE
from webhook.volume import is_ours

NAMESPACE = "delivery"
FEDERATED = "vanadium.io:replica:federated-partner.example"
SHORT_TTL = 600
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
        installed.kubectl("delete", "namespace", NAMESPACE)
        called("unregister", NAMESPACE, "default", *flags(installed))
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
    trust_bundle(installed)
    register(installed, 3600)
    wait_for("the nodes", lambda: "have a kubelet older" in str(logged(installed).get("objection")))
    refused = refusal(installed, asking("volume"))
    assert "vanadium.io/delivery is volume, and " in refused
    assert "have a kubelet older than 1.37" in refused

    installed.apply(NODE)
    state_version(installed, "delivery-1-37", "v1.37.2")
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


@pytest.fixture
def able_nodes(installed: Installation) -> Iterator[None]:
    """Each node states a kubelet that keeps volumes; those of this control plane state none otherwise."""
    names = [one["metadata"]["name"] for one in installed.get("nodes")["items"]]
    for name in names:
        state_version(installed, name, "v1.37.2")
    try:
        yield
    finally:
        for name in names:
            state_version(installed, name, "")


@pytest.mark.usefixtures("restricted_namespace", "able_nodes")
def test_an_application_with_a_short_ttl_gets_the_sidecar_by_auto_and_is_refused_a_volume_at_once(
    installed: Installation,
) -> None:
    trust_bundle(installed)
    why = f"certificates of the application {NAMESPACE}/default live"
    # Without a registration it has this cluster agent's TTL, which is shorter than an hour, too.
    default = f"{why} {TTL_SECONDS} s, the cluster agent's TTL, and Kubernetes accepts none"
    volume, automatic = asking("volume"), asking("auto")
    wait_for("the default", lambda: default in refusal(installed, volume), story=installed.logs_end)
    register(installed, 3600)
    wait_for("the volume by auto", lambda: '"vanadium-identity"' in json.dumps(created(installed, automatic)))
    register(installed, SHORT_TTL)
    short = f"{why} {SHORT_TTL} s, the TTL it is registered with, and Kubernetes accepts none for less than"
    wait_for("the registration", lambda: short in refusal(installed, volume))

    metadata = {"name": "web", "namespace": NAMESPACE}
    template = {key: automatic[key] for key in ("metadata", "spec")}
    template["metadata"] = {"labels": {"app": "web"}, "annotations": automatic["metadata"]["annotations"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    installed.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    listed = partial(installed.get, "pods", "-n", NAMESPACE, "-l", "app=web")
    (made,) = wait_for("its Pod", lambda: listed()["items"])
    assert [one["name"] for one in made["spec"]["initContainers"]] == ["vanadium-pod-agent"]

    decision = f"sidecar: vanadium.io/delivery is auto, and {short}"
    log = installed.logs / "webhook.log"
    # The same text is in the audit annotation, and in the Event of its owner.
    wait_for("its line of the log", lambda: decision in log.read_text())

    here = flags(installed)
    assert decision in explained(installed, automatic, *here)
    file = installed.logs / "asking.json"
    assert "vanadium-pod-agent" in vkube("inject", "-f", file, "-n", NAMESPACE, *here)
    file.write_text(json.dumps(volume))
    for command in (("explain", file), ("inject", "-f", file)):
        assert short in called(*command, "-n", NAMESPACE, *here).output
    # Who does not administer is told what is not seen: no Pod of the cluster agent runs in this cluster.
    unseen = called("explain", file, "-n", NAMESPACE, "--kubeconfig", installed.control_plane.kubeconfig)
    assert unseen.code == 0
    assert "less than 1 h gets no volume, which cannot be seen here" in unseen.stderr


def trust_bundle(installed: Installation) -> None:
    """Makes it, since the cluster agent of this installation signs for no kubelet."""
    if not installed.kubectl("get", "clustertrustbundle", TRUST_BUNDLE, "--ignore-not-found"):
        with installed.control_plane_client(ADMINISTRATOR) as administrator:
            roots = Roots.from_json(administrator.get("/v1/roots").json()["roots"])
        installed.apply(bundle(TRUST_BUNDLE, (one.certificate for one in roots)))


def register(installed: Installation, ttl: int) -> None:
    """Registers the namespace's default application with that TTL."""
    vkube("register", NAMESPACE, "default", f"acme:prod:{NAMESPACE}:default", "--ttl", ttl, *flags(installed))


def state_version(installed: Installation, node: str, version: str) -> None:
    patch = json.dumps({"status": {"nodeInfo": {"kubeletVersion": version}}})
    installed.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", patch)


def refusal(installed: Installation, subject: dict[str, Any]) -> str:
    """What the API server answers to the creation of that Pod; empty when it is admitted."""
    ended = installed.control_plane.kubectl(
        *("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-"), stdin=json.dumps(subject), check=False
    )
    return ended.stderr if ended.returncode else ""


def explained(installed: Installation, subject: dict[str, Any], *flags: object) -> str:
    """The decision, in the words of `vkube explain`."""
    file = installed.logs / "asking.json"
    file.write_text(json.dumps(subject))
    flags = flags or ("--kubeconfig", installed.control_plane.kubeconfig)
    text = vkube("explain", file, "-n", NAMESPACE, *flags)
    return next(line for line in text.splitlines() if line.startswith("Decision"))
