"""Which Pods plain manifests become, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from vkube.errors import ManifestError
from vkube.local.manifests import pods_of, read

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}


def workload(kind: str, **spec: object) -> dict[str, object]:
    return {
        "kind": kind,
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": TEMPLATE, **spec},
    }


def test_a_deployment_becomes_pods_with_names_of_their_own() -> None:
    pods = pods_of(workload("Deployment", replicas=3), random.Random(1))
    names = {pod["metadata"]["name"] for pod in pods}
    assert len(names) == 3
    assert all(len(name.split("-")) == 3 and name.startswith("web-") for name in names)
    assert len({pod["metadata"]["uid"] for pod in pods}) == 3
    assert {pod["spec"]["serviceAccountName"] for pod in pods} == {"default"}


def test_a_stateful_set_becomes_pods_with_ordinals() -> None:
    pods = pods_of(workload("StatefulSet", replicas=2), random.Random(1))
    assert [pod["metadata"]["name"] for pod in pods] == ["web-0", "web-1"]


@pytest.mark.parametrize("replicas", [-1, "3", True, 1.5])
def test_a_wrong_number_of_replicas_is_named(replicas: object) -> None:
    with pytest.raises(ManifestError, match=r"spec\.replicas is a whole number"):
        pods_of(workload("Deployment", replicas=replicas), random.Random(1))


def test_a_workload_without_a_template_is_named() -> None:
    with pytest.raises(ManifestError, match=r"Deployment shop/web has no spec\.template\.spec"):
        pods_of({"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}, random.Random(1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "cannot read"),
        ("- a", "document 1: a manifest is a mapping"),
        ("kind: Pod", "needs kind and metadata.name"),
        (yaml.safe_dump({"kind": "DaemonSet", "metadata": {"name": "x"}}), "does not run a DaemonSet"),
    ],
)
def test_what_is_no_manifest_is_told_where(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ManifestError, match=said):
        read([tmp_path / "m.yaml"])


def test_a_service_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(yaml.safe_dump({"kind": "Service", "metadata": {"name": "web"}}))
    assert read([tmp_path / "m.yaml"]).left_out == ["Service default/web"]
