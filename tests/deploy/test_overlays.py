"""Every overlay and component of deploy/ on a real API server, as GitOps controllers apply them: once, and
again and again, beside what the webhook writes itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from certs.ca_bundle import publish_ca_bundle
from certs.roots import ControlPlaneRoots
from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.deploy.custom_resources import define
from tests.deploy.test_documented_overlay import documented
from tests.endtoend.installation import token_of
from webhook.kubernetes_clients import connect

DEPLOY = CHECKOUT / "deploy"
CONFIGURATION = "vanadium-webhook"


def kustomizations(folder: str) -> list[str]:
    """Those that are applied, or added to one that is; not those that only transform others."""
    found = (path for path in (DEPLOY / folder).rglob("kustomization.yaml"))
    kind = {"overlays": "Kustomization", "components": "Component"}[folder]
    return sorted(
        str(path.parent.relative_to(DEPLOY))
        for path in found
        if yaml.safe_load(path.read_text())["kind"] == kind
    )


def components_of(part: str) -> list[str]:
    listed = yaml.safe_load((DEPLOY / part / "kustomization.yaml").read_text()).get("components", [])
    return [os.path.relpath(DEPLOY / part / one, DEPLOY) for one in listed]


OVERLAYS = kustomizations("overlays")
COMPONENTS = kustomizations("components")
INCLUDED = {component for part in [*OVERLAYS, *COMPONENTS] for component in components_of(part)}
# Each of them over the quick start would take a minute more.
OTHERS = [component for component in COMPONENTS if component not in INCLUDED]
WAYS = {
    "quick start": ["."],
    **{part: [part] for part in [*OVERLAYS, "monitoring"]},
    "others": [".", *OTHERS],
}


@pytest.fixture(scope="module")
def defined(control_plane: ControlPlane, go_toolchain: Path) -> Iterator[ControlPlane]:
    """The control plane with the custom resources, and an installation."""
    control_plane.kubectl("apply", "-k", "deploy")
    files = define(control_plane, go_toolchain)
    yield control_plane
    for file in files:
        control_plane.kubectl("delete", "-f", str(file), "--ignore-not-found", "--timeout=60s")
    control_plane.kubectl("apply", "-k", "deploy")


def kustomization(directory: Path, parts: list[str]) -> Path:
    """Makes one in the directory, of a part of deploy/ and components."""
    # kustomize takes no absolute paths.
    resource, *components = (os.path.relpath(DEPLOY / part, directory) for part in parts)
    text = yaml.safe_dump({"resources": [resource], "components": components})
    (directory / "kustomization.yaml").write_text(text)
    return directory


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, defined: ControlPlane, tmp_path: Path) -> Iterator[Path]:
    """One way to install; what it has besides the quick start is deleted afterwards."""
    directory = kustomization(tmp_path, WAYS[request.param])
    yield directory
    base = {identity(one) for one in rendered(defined, DEPLOY)}
    besides = [one for one in rendered(defined, directory) if identity(one) not in base]
    if besides:
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": besides})
        defined.kubectl("delete", "--ignore-not-found", "--wait=false", "-f", "-", stdin=items)


def identity(one: dict[str, Any]) -> tuple[str, str]:
    return one["kind"], one["metadata"]["name"]


def rendered(control_plane: ControlPlane, directory: Path) -> list[dict[str, Any]]:
    text = control_plane.kubectl("kustomize", str(directory)).stdout
    return [one for one in yaml.safe_load_all(text) if one]


def write_ca_bundle(control_plane: ControlPlane) -> None:
    """As the webhook does, with its own rights."""
    kubeconfig = control_plane.kubeconfig_for(token_of(control_plane, "webhook"), "overlays-webhook")
    roots = ControlPlaneRoots.begin(datetime.now(UTC)).roots
    publish_ca_bundle(connect(kubeconfig), CONFIGURATION, roots)


def ca_bundles(control_plane: ControlPlane) -> list[str | None]:
    entries = control_plane.kubectl.get("mutatingwebhookconfiguration", CONFIGURATION)["webhooks"]
    return [entry["clientConfig"].get("caBundle") for entry in entries]


def test_it_is_accepted_and_applying_it_again_changes_nothing(way: Path, defined: ControlPlane) -> None:
    """By the patches that kubectl and Argo CD make without knowing the API server's defaults (`unchanged` is
    an empty one), and by the answer to a server-side apply, as Flux compares."""
    kubectl = defined.kubectl
    kubectl("apply", "-k", str(way))
    write_ca_bundle(defined)
    before = live(defined, way)

    lines = kubectl("apply", "-k", str(way)).stdout.splitlines()
    # A budget's selector is replaced each time, by itself: that is no change.
    patched = [line for line in lines if not line.endswith(" unchanged")]
    assert [line for line in patched if not line.startswith("poddisruptionbudget.policy/")] == []
    assert live(defined, way) == before

    server_side = ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller")
    answer = kubectl("apply", "-k", str(way), *server_side, "--dry-run=server", "-o", "json").stdout
    applied = {identity(one): wanted(one) for one in json.loads(answer)["items"]}
    assert {name: compared(one) for name, one in applied.items()} == {
        name: compared(one) for name, one in before.items()
    }


def live(control_plane: ControlPlane, directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What is wanted of each object, and the version in which it is: controllers write the rest."""
    items = control_plane.kubectl.get("-k", str(directory))["items"]
    for one in items:
        if "generation" in one["metadata"] or "status" in one:
            one["metadata"].pop("resourceVersion")
    return {identity(one): wanted(one) for one in items}


def wanted(one: dict[str, Any]) -> dict[str, Any]:
    """Without what controllers write, which no tool compares."""
    metadata = {**one["metadata"], "annotations": dict(one["metadata"].get("annotations", {}))}
    metadata["annotations"].pop("deployment.kubernetes.io/revision", None)
    return {**{field: value for field, value in one.items() if field != "status"}, "metadata": metadata}


def compared(one: dict[str, Any]) -> dict[str, Any]:
    """What is the same for each version of an object."""
    without = ("managedFields", "resourceVersion")
    metadata = {field: value for field, value in one["metadata"].items() if field not in without}
    return {**one, "metadata": metadata}


def test_what_the_webhook_wrote_stays_whatever_manager_applies_the_manifests(defined: ControlPlane) -> None:
    kubectl = defined.kubectl
    kubectl("delete", "mutatingwebhookconfiguration", CONFIGURATION)
    for manager in ("argocd-controller", "kustomize-controller"):
        server_side = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
        kubectl("apply", "-k", "deploy", *server_side)
        write_ca_bundle(defined)
        before = ca_bundles(defined)
        kubectl("apply", "-k", "deploy", *server_side)
        assert ca_bundles(defined) == before
        assert all(before)
    # Nor does a manager that gives up, or one that takes over from kubectl.
    kubectl("apply", "-k", "deploy", "--server-side", "--force-conflicts")
    kubectl("apply", "-k", "deploy")
    assert ca_bundles(defined) == before


def test_what_is_to_be_highly_available_is_twice_on_other_nodes_and_scheduled_first(
    defined: ControlPlane,
) -> None:
    objects = {identity(one): one for one in rendered(defined, DEPLOY / "overlays/postgresql")}
    for name in ("webhook", "cluster-agent"):
        deployment = objects["Deployment", name]["spec"]
        pod = deployment["template"]["spec"]
        assert deployment["replicas"] == 2
        assert pod["priorityClassName"] == "system-cluster-critical"
        spread = {one["topologyKey"] for one in pod["topologySpreadConstraints"]}
        assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        (apart,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
        budget = objects["PodDisruptionBudget", name]["spec"]
        assert budget["maxUnavailable"] == 1
        labels = deployment["template"]["metadata"]["labels"]
        selectors = [
            budget["selector"],
            apart["podAffinityTerm"]["labelSelector"],
            *(one["labelSelector"] for one in pod["topologySpreadConstraints"]),
        ]
        assert all(one["matchLabels"].items() <= labels.items() for one in selectors)
    (wanted,) = objects["ResourceQuota", "critical-pods"]["spec"]["scopeSelector"]["matchExpressions"]
    assert (wanted["scopeName"], wanted["values"]) == ("PriorityClass", ["system-cluster-critical"])


def test_the_healers_dry_run_has_no_right_to_evict(defined: ControlPlane, tmp_path: Path) -> None:
    modes, resources = {}, {}
    for part in ("healer-dry-run", "healer"):
        (tmp_path / part).mkdir()
        objects = rendered(defined, kustomization(tmp_path / part, [".", f"components/{part}"]))
        (webhook,) = [one for one in objects if identity(one) == ("Deployment", "webhook")]
        (container,) = webhook["spec"]["template"]["spec"]["containers"]
        modes[part] = [one["value"] for one in container["env"] if one["name"] == "VANADIUM_WEBHOOK_HEAL"]
        rules = [rule for one in objects for rule in one.get("rules", [])]
        resources[part] = {resource for rule in rules for resource in rule["resources"]}
    assert modes == {"healer-dry-run": ["dry-run"], "healer": ["on"]}
    assert resources["healer"] - resources["healer-dry-run"] == {"pods/eviction"}


def test_a_restricted_network_lets_each_part_reach_what_it_needs_and_no_more(
    defined: ControlPlane, tmp_path: Path
) -> None:
    directory = kustomization(tmp_path, [".", "components/restricted-network"])
    objects = {identity(one): one for one in rendered(defined, directory)}
    policies = {name: one["spec"] for (kind, name), one in objects.items() if kind == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ports = {
        name: {port["port"] for rule in spec.get("egress", []) for port in rule["ports"]}
        for name, spec in policies.items()
    }
    assert ports["egress"] == {53, 443, 6443}
    assert ports["webhook-to-cluster-agent"] == {8193}
    assert {name for name, found in ports.items() if found} == {"egress", "webhook-to-cluster-agent"}
    agent = objects["Deployment", "cluster-agent"]["spec"]["template"]
    (rule,) = policies["webhook-to-cluster-agent"]["egress"]
    (peer,) = rule["to"]
    assert peer["podSelector"]["matchLabels"].items() <= agent["metadata"]["labels"].items()
    assert {"name": "https", "containerPort": 8193} in agent["spec"]["containers"][0]["ports"]
    # And what namespaces need where they restrict egress themselves, by the documents.
    example = yaml.safe_load(documented("name: vanadium-identity"))
    example["metadata"]["namespace"] = "default"
    defined.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(example))
    (to_agent, _) = example["spec"]["egress"]
    assert to_agent["to"][0]["podSelector"] == peer["podSelector"]
    assert {port["port"] for port in to_agent["ports"]} == {8193}
