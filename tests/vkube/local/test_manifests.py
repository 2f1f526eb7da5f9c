"""What is read as a manifest, and what is refused with its place and field."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from vkube.errors import ManifestError
from vkube.local.manifests import Manifests, read
from vkube.workloads.sources import documents, items

CONTAINERS = [{"name": "web", "image": "web"}]
POD = {"kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": CONTAINERS}}


def added(manifest: object) -> Manifests:
    manifests = Manifests()
    for where, one in items(manifest, "m.yaml, document 1"):
        manifests.add(one, where)
    return manifests


def container(**fields: object) -> dict[str, Any]:
    return {**POD, "spec": {"containers": [{**CONTAINERS[0], **fields}]}}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("- a", "m.yaml, document 1: a manifest is a mapping"),
        ({"metadata": {}}, "m.yaml, document 1: kind: field required"),
        ({"kind": 1}, "document 1: kind: input should be a valid string"),
        ({"kind": "Pod", "spec": {"containers": CONTAINERS}}, "(Pod): metadata.name is missing"),
        ({**POD, "metadata": []}, "metadata: input should be a mapping"),
        ({**POD, "metadata": {"name": 5}}, "metadata.name: input should be a valid string"),
        ({**POD, "metadata": {"name": "Web_1"}}, "(Pod Web_1): metadata.name: string should match"),
        (
            {**POD, "metadata": {"name": "web", "labels": {"a": 1}}},
            "metadata.labels.a: input should be a valid str",
        ),
        ({"kind": "Pod", "metadata": {"name": "web"}}, "(Pod web): spec: field required"),
        ({**POD, "spec": {"containers": []}}, "spec.containers: list should have at least 1 item"),
        ({**POD, "spec": {"containers": "x"}}, "spec.containers: input should be a valid list"),
        (container(command="sleep 1"), "spec.containers[0].command: input should be a valid list"),
        (
            container(env=[{"name": "A", "value": 1}]),
            "spec.containers[0].env[0].value: input should be a valid string",
        ),
        (
            container(livenessProbe={"exec": {"command": "x"}}),
            "spec.containers[0].livenessProbe.exec.command: input",
        ),
        (
            container(volumeMounts=[{"name": "v"}]),
            "spec.containers[0].volumeMounts[0].mountPath: field required",
        ),
        (
            {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}},
            "(Deployment web): spec.template: field",
        ),
        (
            {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": -1, "template": POD}},
            "spec.replicas: input should be greater than or equal to 0",
        ),
        (
            {"kind": "Job", "metadata": {"name": "web"}, "spec": {"template": {"spec": POD["spec"]}}},
            "spec.template.spec.restartPolicy: field required",
        ),
        (
            {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": 1}},
            "(Secret s): data.k: input should be a",
        ),
        ({"kind": "List", "items": [POD, {"kind": "Pod"}]}, "document 1, items[1]: spec: field required"),
        ({"kind": "List", "items": [1]}, "document 1, items[0]: a manifest is a mapping"),
        ({"kind": "List", "items": {}}, "document 1: items: input should be a valid list"),
    ],
)
def test_a_wrong_manifest_is_told_with_its_place_and_field(manifest: object, message: str) -> None:
    with pytest.raises(ManifestError) as told:
        added(manifest)
    assert message in str(told.value)


def test_null_is_as_good_as_a_missing_field() -> None:
    manifests = added({"kind": "ConfigMap", "metadata": {"name": "c", "namespace": None, "labels": None}})
    assert ("ConfigMap", "default", "c") in manifests.data


def test_a_list_is_what_it_contains() -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "p"}}
    inner = {"kind": "PersistentVolumeClaimList", "items": [claim]}
    manifests = added({"kind": "List", "items": [POD, inner]})
    assert [one["metadata"]["name"] for one in manifests.workloads] == ["web"]
    assert manifests.claims == {("default", "p")}


def test_a_custom_resource_whose_kind_ends_in_list_is_no_list() -> None:
    assert added({"kind": "AllowList", "metadata": {"name": "a"}}).left_out == ["AllowList default/a"]
    assert added({"kind": "List", "items": None}).left_out == []


@pytest.mark.parametrize("kind", ["Ingress", "CustomResourceDefinition", "Certificate"])
def test_a_kind_that_local_mode_does_nothing_with_is_left_out_and_named(kind: str) -> None:
    assert added({"kind": kind, "metadata": {"name": "web"}}).left_out == [f"{kind} default/web"]


def test_a_service_without_pods_of_its_own_is_left_out() -> None:
    named = {"kind": "Service", "metadata": {"name": "web"}}
    for spec in (None, {"ports": [{"port": 1}]}, {"type": "ExternalName", "selector": {"app": "web"}}):
        found = added({**named, "spec": spec})
        assert (found.services, found.left_out) == ([], ["Service default/web"])
    assert len(added({**named, "spec": {"selector": {"app": "web"}}}).services) == 1
    with pytest.raises(ManifestError, match=r"spec\.ports\[0\]\.port: input should be less than"):
        added({**named, "spec": {"ports": [{"port": 65536}]}})


def test_what_is_left_out_may_have_a_name_that_no_pod_could_have_or_none() -> None:
    role = {"kind": "ClusterRole", "metadata": {"name": "system:node"}}
    assert added({"kind": "List", "items": [role, {"kind": "Kustomization"}]}).left_out == [
        "ClusterRole default/system:node",
        "Kustomization",
    ]


def test_files_directories_and_standard_input_are_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.yaml").write_text("---\n---\nkind: B\n---\nkind: C\n")
    (tmp_path / "d" / "a.json").write_text('{\n\t"kind": "A"\n}')
    (tmp_path / "d" / "notes.txt").write_text("no manifest")
    found = documents([str(tmp_path / "d"), "-"], io.BytesIO(b"kind: D"))
    assert [(where.rpartition("/")[2], document["kind"]) for where, document in found] == [
        ("a.json, document 1", "A"),
        ("b.yaml, document 2", "B"),
        ("b.yaml, document 3", "C"),
        ("standard input, document 1", "D"),
    ]


def test_a_date_is_text_as_kubernetes_reads_it(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "kind: A\nmetadata: {annotations: {on: 2026-01-01, at: 2026-01-01T00:00:00Z}}"
    )
    ((_, document),) = documents([str(tmp_path / "m.yaml")])
    assert json.dumps(document["metadata"]["annotations"][True]) == '"2026-01-01"'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "cannot read"),
        (b"\xff\xfe\xfd", "cannot read"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{a: " * 5_000, "cannot read"),
        (b"a: !!python/object/apply:os.getpid []", "cannot read"),
        (b"a: &a [x]\nb: *c", "cannot read"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.yaml").write_bytes(content)
    with pytest.raises(ManifestError, match=message) as told:
        read([str(tmp_path / "m.yaml")])
    assert "m.yaml" in str(told.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "cannot read missing.yaml: No such file"),
        ("http://127.0.0.1:9/m.yaml", "cannot fetch http://127.0.0.1:9/m.yaml"),
        ("https://[", "cannot fetch"),
    ],
)
def test_a_source_that_is_not_there_is_told(name: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message.replace("[", r"\[")):
        read([name])


def test_a_directory_without_manifests_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no file that ends in"):
        read([str(tmp_path)])


def test_manifests_survive_a_round_trip_through_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.yml").write_text(yaml.safe_dump(POD))
    assert read([str(tmp_path)]).workloads == [{**POD, "metadata": {"name": "web", "namespace": "default"}}]
