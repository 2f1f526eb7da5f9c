"""The documents name every setting there is, and their links and paths lead somewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from cluster_agent.settings import Settings as ClusterAgentSettings
from pod_agent.settings import Settings as PodAgentSettings
from tests import flow
from tests.checkout import CHECKOUT
from tests.controlplane.programs import KUBERNETES_VERSION
from webhook.annotations import KNOWN
from webhook.namespace_defaults import INHERITED
from webhook.settings import Settings as WebhookSettings

DOCUMENT = (CHECKOUT / "docs" / "settings.md").read_text()
PROGRAMS = {"cluster_agent", "pod_agent", "service", "webhook"}
README = (CHECKOUT / "README.md").read_text()
DOCUMENTS = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("## Webhook", list(WebhookSettings.model_fields)),
        ("## Cluster agent", list(ClusterAgentSettings.model_fields)),
        ("## Pod agent", [field.name for field in fields(PodAgentSettings)]),
    ],
)
def test_every_flag_is_documented_under_its_program(program: str, names: list[str]) -> None:
    section = DOCUMENT.split(program)[1].split("\n## ")[0]
    assert [name for name in names if f"`--{name.replace('_', '-')}`" not in section] == []


def test_every_annotation_is_documented() -> None:
    assert [one for one in KNOWN | INHERITED if f"`{one}`" not in DOCUMENT] == []


def test_the_table_of_annotations_states_which_a_namespace_may_have() -> None:
    rows = [re.split(r" *\| *", row) for row in DOCUMENT.splitlines() if row.startswith("| `vanadium.io/")]
    stated = {name for row in rows if row[4] for name in re.findall(r"`([^`]+)`", row[1])}
    assert stated == INHERITED


def test_every_metric_is_in_the_reference() -> None:
    reference = (CHECKOUT / "docs" / "reference.md").read_text()
    sources = [path for path in CHECKOUT.glob("*/**/*.py") if path.parts[len(CHECKOUT.parts)] in PROGRAMS]
    names = {name for path in sources for name in re.findall(r'"(vanadium_[a-z_]+)"', path.read_text())}
    assert "vanadium_webhook_admissions" in names
    assert sorted(name for name in names if name not in reference) == []


def anchors(document: Path) -> set[str]:
    """What may stand after `#` in a link to it, as forges make it of each heading."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_link_leads_to_a_file_and_heading_that_are_there(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if path.startswith("https://"):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_file_and_folder_of_ours_that_is_named_is_there(document: Path) -> None:
    ours = "|".join(path.name for path in CHECKOUT.iterdir() if path.is_dir() and path.name[0] != ".")
    named = re.findall(rf"`((?:{ours})/[\w./-]*)`", document.read_text())
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


# Since which version of Kubernetes the API server knows it in this form.
SINCE = {
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): (1, 16),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): (1, 30),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): (1, 30),
    ("apps/v1", "Deployment"): (1, 9),
    ("networking.k8s.io/v1", "NetworkPolicy"): (1, 7),
    ("policy/v1", "PodDisruptionBudget"): (1, 21),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): (1, 8),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (1, 8),
    ("rbac.authorization.k8s.io/v1", "Role"): (1, 8),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (1, 8),
    ("v1", "Namespace"): (1, 0),
    ("v1", "PersistentVolumeClaim"): (1, 0),
    ("v1", "Service"): (1, 0),
    ("v1", "ServiceAccount"): (1, 0),
}


def supported(what: str) -> tuple[str, str]:
    """The two cells of that row of the README's table: supported, tested with."""
    (row,) = re.findall(rf"^\| {what}[^|]* \| ([^|]*) \| ([^|]*) \|$", README, re.M)
    return row[0].removesuffix(" or newer"), row[1].split(" ")[0]


def manifests() -> Iterator[tuple[str, str]]:
    for path in sorted((CHECKOUT / "deploy" / "base").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for one in yaml.safe_load_all(path.read_text()):
                yield one["apiVersion"], one["kind"]


def test_the_versions_that_are_supported_are_those_of_the_manifests_the_tests_and_the_packaging() -> None:
    oldest, tested = supported("Kubernetes")
    assert f"v{tested}" == KUBERNETES_VERSION
    assert tuple(map(int, oldest.split("."))) == max(SINCE[one] for one in manifests())
    module = CHECKOUT / "tests" / "controlplane" / "go_module" / "go.mod"
    assert f"k8s.io/kubernetes v{tested}\n" in module.read_text()
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    python, image = supported("Python")
    assert project["project"]["requires-python"] == f">={python}"
    for file in (CHECKOUT / "deploy" / "images").glob("*.Containerfile"):
        assert f"FROM python:{image}-slim" in file.read_text()


def test_the_picture_is_drawn_from_its_text() -> None:
    assert flow.PICTURE.read_text() == flow.picture(flow.SOURCE.read_text())


@pytest.mark.parametrize("line", ["circle a 0 0  A", "arrow a.right b.left : nothing is there"])
def test_a_line_of_the_picture_that_means_nothing_is_no_picture(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        flow.picture(line)


def test_the_license_is_the_one_that_the_packaging_names() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert project["project"]["license"] == "Apache-2.0"
    assert (CHECKOUT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]


def test_the_change_log_begins_with_the_version_of_the_packaging() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    versions = re.findall(r"^## \[(.*?)\]", (CHECKOUT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] in (project["project"]["version"], "Unreleased")
