"""`vkube start-cluster-agent`, `update-cluster-agent` and `stop-cluster-agent` on a real API server; nothing
runs the Pods here (tests/cluster/test_vkube_installation.py has a node)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blessings import Authority, Name, Principal
from certs.issue import NAMESPACE
from cluster_agent.kubernetes.trust_bundles import bundle
from cluster_agent.pod_requests.trust_bundle import NAME
from tests.checkout import CHECKOUT
from tests.cluster.installation import everything
from tests.controlplane.control_plane import ControlPlane
from tests.vkube.command import called, vkube
from tests.waiting import wait_for
from vkube.configuration import Configuration
from vkube.installation.manifests import rendered

PLACE = "identity"
TENANT = "vkube-installation"
_OF_THE_CLUSTER = "Validating", "Mutating", "Cluster", "Namespace"


@pytest.fixture
def flags(control_plane: ControlPlane, tmp_path: Path) -> Iterator[list[object]]:
    """The control plane without the product, and vkube.cfg with a namespace of its own for it."""
    kubectl = control_plane.kubectl
    kubectl("delete", "-k", "deploy", "--ignore-not-found", "--timeout=120s")
    configure(tmp_path, namespace=PLACE)
    flags = ["--kubeconfig", control_plane.kubeconfig, "--config", tmp_path / "vkube.cfg"]
    yield flags
    for manifest in reversed(rendered(Configuration.model_validate({"clusterAgent": {"namespace": PLACE}}))):
        where = ["-n", PLACE] if "namespace" in manifest["metadata"] else []
        kind = manifest["kind"].lower()
        kubectl("delete", kind, manifest["metadata"]["name"], *where, "--ignore-not-found", "--timeout=120s")
    kubectl("delete", "namespace", TENANT, "--ignore-not-found", "--wait=false")


def configure(directory: Path, **cluster_agent: str) -> None:
    (directory / "vkube.cfg").write_text(json.dumps({"clusterAgent": {"namespace": PLACE, **cluster_agent}}))


@pytest.mark.parametrize(
    ("configuration", "overlay"),
    [({}, "deploy"), ({"admin": "acme:administrator"}, "deploy/overlays/claim")],
    ids=["quick start", "claim"],
)
def test_vkube_makes_of_the_manifests_what_kustomize_makes(
    control_plane: ControlPlane, configuration: dict[str, str], overlay: str
) -> None:
    ours = rendered(Configuration.model_validate({"clusterAgent": configuration}))
    made = list(yaml.safe_load_all(control_plane.kubectl("kustomize", overlay).stdout))
    assert as_kustomize_makes_it(ours, made)


def as_kustomize_makes_it(ours: list[dict[str, Any]], made: list[dict[str, Any]]) -> bool:
    for one in made:
        # kustomize does not know that admission policies have no namespace; the API server ignores it.
        if one["kind"].startswith(_OF_THE_CLUSTER):
            one["metadata"].pop("namespace", None)
    (agent,) = (
        one for one in ours if (one["kind"], one["metadata"]["name"]) == ("Deployment", "cluster-agent")
    )
    variables = agent["spec"]["template"]["spec"]["containers"][0]["env"]
    variables[:] = [one for one in variables if not one["name"].endswith("_ADMINISTRATORS")]
    assert by_name(ours) == by_name(made)
    return True


def test_one_line_of_an_overlay_moves_the_installation_as_vkube_does(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    deploy = os.path.relpath(CHECKOUT / "deploy", tmp_path.resolve())
    moving = {"namespace": PLACE, "resources": [deploy], "transformers": [f"{deploy}/components/namespace"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(moving))
    printed = control_plane.kubectl("kustomize", str(tmp_path)).stdout
    assert NAMESPACE not in printed
    ours = rendered(Configuration.model_validate({"clusterAgent": {"namespace": PLACE}}))
    assert as_kustomize_makes_it(ours, list(yaml.safe_load_all(printed)))


LABEL = {"app.kubernetes.io/part-of": "vanadium-cluster"}


def budget(name: str, namespace: str, labels: dict[str, str] = LABEL) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": name}}},
    }


def by_name(value: Any) -> Any:
    """With lists of named things in the order of their names, which has no meaning."""
    if isinstance(value, dict):
        return {key: by_name(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted(map(by_name, value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def test_the_control_plane_lives_by_vkube_alone(
    control_plane: ControlPlane, flags: list[object], tmp_path: Path
) -> None:
    """One test: each step begins with what the previous one left."""
    kubectl = control_plane.kubectl
    assert "is not running in context test" in vkube("update-cluster-agent", *flags, ends=1)
    assert "is not running in context test" in vkube("stop-cluster-agent", "--delete-data", *flags, ends=1)

    said = vkube("start-cluster-agent", *flags)
    assert f"Namespace {PLACE}: created\n" in said
    assert f"Deployment {PLACE}/cluster-agent: created\n" in said
    entry = kubectl.get("mutatingwebhookconfiguration", "vanadium-webhook")["webhooks"][0]
    assert entry["clientConfig"]["service"]["namespace"] == PLACE
    again = vkube("start-cluster-agent", *flags, ends=1)
    assert f"already running in the namespace {PLACE}, and a cluster has one" in again
    (tmp_path / "other.cfg").write_text("{}")
    other = ["--kubeconfig", control_plane.kubeconfig, "--config", tmp_path / "other.cfg"]
    assert f"not running in the namespace vanadium-system, but in {PLACE}" in vkube(
        "stop-cluster-agent", *other, ends=1
    )
    assert called("update-cluster-agent", *flags).stdout == ""

    configure(tmp_path, blessing="acme:test")
    refused = vkube("update-cluster-agent", *flags, ends=1)
    assert "the name prefix is acme:prod in the cluster, and acme:test by vkube.cfg" in refused
    configure(tmp_path, admin="acme:administrator")
    refused = vkube("update-cluster-agent", *flags, ends=1)
    assert "clusterAgent.admin decides whether an administrator claims the cluster agent" in refused

    configure(tmp_path, image="none/cluster-agent:1", memory="300Mi", admin="vanadium-control-plane:admin")
    failed = vkube("update-cluster-agent", "--wait", "--wait-timeout", 1, *flags, ends=1)
    # Without a node nothing becomes ready.
    assert "not ready after 1 s" in failed
    assert f"Rolled back to the previous Pod template: Deployment {PLACE}/webhook, " in failed
    assert container(control_plane)["image"] == "vanadium/cluster-agent:0.2.0"
    said = vkube("update-cluster-agent", *flags)
    assert f"Deployment {PLACE}/cluster-agent: updated" in said
    agent = container(control_plane)
    assert agent["image"] == "none/cluster-agent:1"
    assert agent["resources"] == {
        "requests": {"cpu": "100m", "memory": "300Mi"},
        "limits": {"memory": "300Mi"},
    }
    variables = {one["name"]: one.get("value") for one in agent["env"]}
    assert variables["VANADIUM_CLUSTER_AGENT_ADMINISTRATORS"] == "vanadium-control-plane:admin"

    kubectl("create", "namespace", TENANT)
    left, kept_by_label, kept_by_manager, kept_by_place = (
        budget("older", PLACE), budget("unlabelled", PLACE, labels={}), budget("of-kustomize", PLACE),
        budget("elsewhere", TENANT),
    )  # fmt: skip
    older_role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "vanadium-older", "labels": LABEL},
        "rules": [],
    }
    server_side = ("apply", "--server-side", "-f", "-")
    for one in (left, kept_by_label, kept_by_place, older_role):
        kubectl(*server_side, "--field-manager=vkube", stdin=json.dumps(one))
    kubectl(*server_side, "--field-manager=argocd-controller", stdin=json.dumps(kept_by_manager))
    said = vkube("update-cluster-agent", *flags)
    assert said.splitlines() == [
        f"PodDisruptionBudget {PLACE}/older: deleted",
        "ClusterRole vanadium-older: deleted",
    ]
    for name in ("unlabelled", "of-kustomize"):
        kubectl("delete", "poddisruptionbudget", name, "-n", PLACE)
    assert kubectl.exists("poddisruptionbudget", "elsewhere", "-n", TENANT)
    kubectl("delete", "poddisruptionbudget", "elsewhere", "-n", TENANT)

    kubectl("label", "clusterrole", "vanadium-webhook", "app.kubernetes.io/part-of-")
    refused = vkube("update-cluster-agent", *flags, ends=1)
    assert "there is already ClusterRole vanadium-webhook, without the label" in refused
    kubectl("label", "clusterrole", "vanadium-webhook", "app.kubernetes.io/part-of=vanadium-cluster")

    ended = called("stop-cluster-agent", *flags)
    assert f"Deployment {PLACE}/cluster-agent: deleted\n" in ended.stdout
    assert "the PersistentVolumeClaim cluster-agent-data" in ended.stderr
    assert "No identity is lost" in ended.stderr
    kept = ours(control_plane)
    assert f"PersistentVolumeClaim {PLACE} cluster-agent-data" in kept
    assert not [line for line in kept if line.startswith(("Deployment", "Role", "Service "))]
    assert "is not running in context test" in vkube("stop-cluster-agent", *flags, ends=1)
    # As a stop that was interrupted would leave it.
    kubectl("create", "clusterrole", "vanadium-webhook", "--verb=get", "--resource=pods")
    kubectl("label", "clusterrole", "vanadium-webhook", "app.kubernetes.io/part-of=vanadium-cluster")
    assert vkube("stop-cluster-agent", *flags) == "ClusterRole vanadium-webhook: deleted\n"
    said = vkube("start-cluster-agent", *flags)
    assert "Namespace" not in said
    assert "PersistentVolumeClaim" not in said

    # As webhook and cluster agent would have made them, and what others made.
    day = timedelta(days=1)
    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=day)
    federated = "vanadium.io:replica:federated-partner"
    kubectl.apply(bundle(NAME, [root.certificate]), bundle(federated, [root.certificate]))
    kubectl("create", "secret", "generic", "vanadium-bootstrap", "--type=vanadium.io/bootstrap", "-n", TENANT)
    kubectl("create", "secret", "generic", "cluster-agent-serving", "-n", PLACE)
    kubectl("create", "configmap", "of-others", "-n", PLACE)
    ended = called("stop-cluster-agent", "--delete-data", "--wait", *flags)
    assert ended.code == 0, ended.output
    assert f"Secret {TENANT}/vanadium-bootstrap: deleted" in ended.stdout
    for name in (NAME, federated):
        assert f"ClusterTrustBundle {name}: deleted" in ended.stdout
    assert "lost: the root, names and revocations of the cluster agent" in ended.stderr
    assert f"Namespace {PLACE} stays: there is ConfigMap {PLACE}/of-others" in ended.stderr
    kubectl("delete", "configmap", "of-others", "-n", PLACE)
    ended = called("stop-cluster-agent", "--delete-data", "--wait", *flags)
    assert f"Namespace {PLACE}: deleted" in ended.stdout
    kubectl("delete", "namespace", TENANT, "--timeout=120s")
    wait_for("the end of all", lambda: ours(control_plane) == set(), story=lambda: str(ours(control_plane)))


def test_what_others_made_is_neither_taken_over_nor_deleted(
    control_plane: ControlPlane, flags: list[object], tmp_path: Path
) -> None:
    kubectl = control_plane.kubectl
    kubectl("create", "clusterrole", "vanadium-webhook", "--verb=get", "--resource=pods")
    refused = vkube("start-cluster-agent", *flags, ends=1)
    assert "there is already ClusterRole vanadium-webhook" in refused
    assert not kubectl.exists("namespace", PLACE)
    kubectl("delete", "clusterrole", "vanadium-webhook")

    # A namespace and a claim that an administrator made.
    kubectl("create", "namespace", PLACE)
    configure(tmp_path, persistentVolumeClaim="theirs", admin="acme:administrator")
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "theirs", "namespace": PLACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
    )
    said = vkube("start-cluster-agent", *flags)
    assert f"Secret {PLACE}/cluster-agent-claim: created, with a random claim code" in said
    assert not kubectl.exists("persistentvolumeclaim", "cluster-agent-data", "-n", PLACE)
    (data,) = (one for one in pod_of(control_plane)["volumes"] if one["name"] == "data")
    assert data["persistentVolumeClaim"] == {"claimName": "theirs"}
    ended = called("stop-cluster-agent", "--delete-data", *flags)
    assert "the PersistentVolumeClaim theirs stays, with all identities" in ended.stderr
    assert "lost" not in ended.stderr
    assert not kubectl.exists("secret", "cluster-agent-claim", "-n", PLACE)
    assert kubectl.exists("persistentvolumeclaim", "theirs", "-n", PLACE)
    kubectl("delete", "persistentvolumeclaim", "theirs", "-n", PLACE)
    ended = called("stop-cluster-agent", "--delete-data", *flags)
    assert f"Namespace {PLACE} stays: it does not have the label" in ended.stderr


def test_a_persistent_disk_is_accepted_and_is_the_only_volume_with_data(
    control_plane: ControlPlane, flags: list[object], tmp_path: Path
) -> None:
    configure(tmp_path, persistentDisk="test-cluster-agent-disk")
    vkube("start-cluster-agent", *flags)
    (data,) = (one for one in pod_of(control_plane)["volumes"] if one["name"] == "data")
    assert data["gcePersistentDisk"]["pdName"] == "test-cluster-agent-disk"
    assert not control_plane.kubectl.exists("persistentvolumeclaim", "cluster-agent-data", "-n", PLACE)


def test_secrets_are_made_where_nobody_else_makes_them(
    control_plane: ControlPlane, flags: list[object], tmp_path: Path
) -> None:
    kubectl = control_plane.kubectl
    ended = called("create-secrets", *flags)
    assert (ended.code, ended.stdout) == (0, "")
    assert "nothing to do: the webhook makes the control plane's certificates" in ended.stderr
    configure(tmp_path, admin="acme:administrator")
    said = vkube("create-secrets", *flags)
    assert f"Secret {PLACE}/cluster-agent-claim: created, with a random claim code" in said
    code = kubectl.get("secret", "cluster-agent-claim", "-n", PLACE)["data"]
    assert "nothing to do: the claim code is there" in called("create-secrets", *flags).stderr
    vkube("start-cluster-agent", *flags)
    assert kubectl.get("secret", "cluster-agent-claim", "-n", PLACE)["data"] == code

    kubectl("create", "namespace", TENANT)
    place = [*flags, "-n", TENANT, "-f", tmp_path / "mine.yaml"]
    mine = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"}, "stringData": {"a": "hidden"}}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump_all([mine, other]))
    assert f"ConfigMap {TENANT}/other is no Secret" in vkube("create-secrets", *place, ends=1)
    assert not kubectl.exists("secret", "mine", "-n", TENANT)
    (tmp_path / "mine.yaml").write_text("stringData: hidden: [")
    assert "hidden" not in vkube("create-secrets", *place, ends=1)
    (tmp_path / "mine.yaml").write_text(json.dumps(mine))
    said = vkube("create-secrets", *place)
    assert said == f"Secret {TENANT}/mine: applied\n"


def ours(control_plane: ControlPlane) -> set[str]:
    """Every object that has to do with the installation: a new control plane still makes its own."""
    words = (PLACE, TENANT, "vanadium", "cluster-agent", "webhook")
    return {line for line in everything(control_plane.kubectl) if any(word in line for word in words)}


def pod_of(control_plane: ControlPlane) -> dict[str, Any]:
    agent = control_plane.kubectl.get("deployment", "cluster-agent", "-n", PLACE)
    pod: dict[str, Any] = agent["spec"]["template"]["spec"]
    return pod


def container(control_plane: ControlPlane) -> dict[str, Any]:
    (found,) = pod_of(control_plane)["containers"]
    return dict(found)
