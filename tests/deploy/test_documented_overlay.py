"""The overlay of the documents over each way to deploy: it changes what it says, and nothing else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.checkout import CHECKOUT
from tests.controlplane.control_plane import ControlPlane
from tests.deploy.test_manifests import accepted, rendered

WAYS = [
    "resources: [../deploy]",
    "resources: [../deploy/overlays/claim]",
    "resources: [../deploy]\ncomponents: [../deploy/components/oidc-discovery]",
    "resources: [../deploy/overlays/cert-manager]",
    "resources: [../deploy/overlays/postgresql]",
    "resources: [../deploy/overlays/postgresql]\ncomponents: [../deploy/components/claim]",
    "resources: [../deploy/overlays/postgresql]\ncomponents: [../deploy/components/cert-manager]",
]
PREFIX = "VANADIUM_CLUSTER_AGENT_NAME_PREFIX"


def documented(having: str) -> str:
    """The one example in YAML in docs/ that has this."""
    texts = [path.read_text() for path in sorted((CHECKOUT / "docs").glob("*.md"))]
    blocks = [block for text in texts for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]
    (block,) = [block for block in blocks if having in block]
    return str(block)


def objects_of(
    control_plane: ControlPlane, directory: Path, *parts: str, asks: bool = True
) -> dict[tuple[str, str], Any]:
    """What kubectl makes of a kustomization.yaml with these parts, by kind and name. `asks` the API server
    whether it would take them."""
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in yaml.safe_load(part.replace("../deploy", _deploy(directory))).items():
            merged[key] = merged.get(key, []) + value
    directory.mkdir()
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(merged))
    objects = rendered(control_plane, str(directory))
    if asks:
        ours = [one for one in objects if not one["apiVersion"].startswith("cert-manager.io/")]
        accepted(control_plane, ours)
    return {(one["kind"], one["metadata"]["name"]): one for one in objects}


def _deploy(directory: Path) -> str:
    # kustomize takes no absolute paths.
    return os.path.relpath(CHECKOUT / "deploy", directory)


def variables(deployment: dict[str, Any]) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.fixture(scope="module")
def installed(control_plane: ControlPlane) -> ControlPlane:
    # Else a dry run has no namespace to be in.
    control_plane.kubectl("apply", "-k", "deploy")
    return control_plane


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def plain(
    installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory, way: str
) -> dict[tuple[str, str], Any]:
    """What a way to deploy is without an overlay. Other tests apply each of them."""
    return objects_of(installed, tmp_path_factory.mktemp("way") / "plain", way, asks=False)


def test_the_overlay_sets_the_prefix_and_the_images_and_no_other_setting(
    installed: ControlPlane, tmp_path: Path, way: str, plain: dict[tuple[str, str], Any]
) -> None:
    overlay = documented("# overlay/kustomization.yaml").replace("acme:prod", "globex:staging")
    changed = objects_of(
        installed, tmp_path / "changed", way, overlay.replace("resources: [../deploy]\n", "")
    )
    assert changed.keys() == plain.keys()
    for name, variable, value in (
        ("cluster-agent", PREFIX, "globex:staging"),
        ("webhook", "VANADIUM_WEBHOOK_POD_AGENT_IMAGE", "REGISTRY/pod-agent:0.2.0"),
    ):
        before, after = plain["Deployment", name], changed["Deployment", name]
        assert variables(after) == {**variables(before), variable: value}
        (container,) = after["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"REGISTRY/{name}:0.2.0"


def test_oidc_discovery_has_the_issuer_of_the_documents_and_a_port_that_is_open(
    installed: ControlPlane, tmp_path: Path
) -> None:
    component = "resources: [../deploy]\ncomponents: [../deploy/components/oidc-discovery]"
    objects = objects_of(installed, tmp_path / "oidc", component, documented("https://oidc.acme.example"))
    agent = objects["Deployment", "cluster-agent"]
    assert variables(agent)["VANADIUM_CLUSTER_AGENT_OIDC_ISSUER"] == "https://oidc.acme.example"
    ports = agent["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {"name": "oidc", "containerPort": 8195} in ports
    assert objects["Service", "cluster-agent-oidc"]["spec"]["ports"][0]["targetPort"] == "oidc"
    (rule,) = objects["NetworkPolicy", "cluster-agent-oidc"]["spec"]["ingress"]
    assert rule == {"ports": [{"port": "oidc", "protocol": "TCP"}]}


def test_the_traces_of_the_documents_are_added_to_the_other_settings(
    installed: ControlPlane, tmp_path: Path, way: str, plain: dict[tuple[str, str], Any]
) -> None:
    traces = documented("OTEL_TRACES_SAMPLER_ARG")
    traced = objects_of(installed, tmp_path / "traced", way, traces)["Deployment", "cluster-agent"]
    added = variables(traced)
    assert variables(plain["Deployment", "cluster-agent"]).items() <= added.items()
    assert {name for name in added if name.startswith("OTEL_")} == set(re.findall("OTEL_[A-Z_]+", traces))


def test_the_certificates_of_the_documents_are_for_the_prefix_of_the_overlay(
    installed: ControlPlane, tmp_path: Path
) -> None:
    """With another prefix the certificate's name must change too: the two examples go together."""
    overlay = documented("# overlay/kustomization.yaml").replace("acme:prod", "globex:staging")
    patch = documented("name: cluster-agent-issuing")
    patch = patch.replace("DC=prod,DC=acme", "DC=staging,DC=globex").replace("DC=acme", "DC=globex")
    patch = patch.replace("spiffe://acme", "spiffe://globex")
    way = "resources: [../deploy/overlays/cert-manager]"
    objects = objects_of(
        installed, tmp_path / "changed", way, overlay.replace("resources: [../deploy]\n", ""), patch
    )
    assert variables(objects["Deployment", "cluster-agent"])[PREFIX] == "globex:staging"
    issuing = objects["Certificate", "cluster-agent-issuing"]["spec"]
    root = objects["Certificate", "acme-root"]["spec"]
    assert (issuing["literalSubject"], issuing["uris"]) == ("DC=staging,DC=globex", ["spiffe://globex"])
    assert (root["literalSubject"], root["uris"]) == ("DC=globex", ["spiffe://globex"])
    assert issuing["privateKey"]["rotationPolicy"] == "Always"


def test_each_file_that_the_commands_of_a_claim_read_was_made_by_one_before() -> None:
    document = (CHECKOUT / "docs/roots.md").read_text()
    section = document[document.index("## Claim a cluster agent") : document.index("### Renew the chain")]
    made: set[str] = set()
    read: set[str] = set()
    for line in re.findall(r"^    (.*)$", section, re.M):
        for name in re.findall(
            r"(?:--(?:passphrase-file|code-file|ca|from-file)[ =]|grep -q \S+ )([\w.]+)", line
        ):
            assert name in made, line
            read.add(name)
        made |= set(re.findall(r"> ([\w.]+)", line))
    assert {"code", "passphrase", "hers", "ca.crt"} <= read
