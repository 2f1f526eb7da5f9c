"""What the webhook does to manifests, explained and done without a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pods import container, pod, restricted_container
from tests.vkube.command import called, vkube
from vkube.admission.advice import _ADVICE, advice
from vkube.admission.injected import is_injected
from vkube.admission.selectors import mismatch
from vkube.admission.templates import Template
from vkube.workloads.template import PATHS
from webhook.reasons import AdmissionReason

OFFLINE = "--default-settings"


def written(directory: Path, *manifests: object) -> Path:
    file = directory / "m.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    return file


def workload(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A workload with that Pod spec in its template."""
    body: dict[str, Any] = {"metadata": {"labels": {"app": "web"}}, "spec": spec}
    for key in reversed(PATHS[kind]):
        body = {key: body}
    return {"apiVersion": "x", "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, **body}


@pytest.mark.parametrize("kind", PATHS)
def test_each_kind_of_workload_is_injected_in_its_template(tmp_path: Path, kind: str) -> None:
    manifest = workload(kind, {"containers": [container()]}) if PATHS[kind] else pod()
    service = {"kind": "Service", "metadata": {"name": "web"}}
    file = written(tmp_path, service, manifest)
    printed = list(yaml.safe_load_all(vkube("inject", "-f", file, OFFLINE)))
    assert printed[0] == service
    template = Template.of(printed[1], "default")
    assert template is not None
    assert is_injected(template.pod)
    assert Template.of(manifest, "default") is not None
    again = written(tmp_path, *printed)
    assert list(yaml.safe_load_all(vkube("inject", "-f", again, OFFLINE))) == printed


def namespace(**annotations: str) -> dict[str, Any]:
    """A labelled namespace; of the annotations' names, underscores become dashes."""
    stated = {f"vanadium.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    metadata = {"name": "shop", "labels": {"vanadium.io/inject": "enabled"}, "annotations": stated}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def test_pods_of_a_namespace_among_the_manifests_inherit_its_annotations(tmp_path: Path) -> None:
    web = workload("Deployment", {"containers": [container()]})
    file = written(tmp_path, web, namespace(cpu_request="77m"))
    printed = list(yaml.safe_load_all(vkube("inject", "-f", file, OFFLINE)))
    (agent,) = printed[0]["spec"]["template"]["spec"]["initContainers"]
    assert agent["resources"]["requests"]["cpu"] == "77m"
    assert "cpu: 77m\n" in vkube("explain", file, OFFLINE)


def test_an_annotation_of_a_namespace_that_no_pod_inherits_is_told(tmp_path: Path) -> None:
    """As of a mistyped name on a Pod: nobody else tells its author."""
    web = workload("Deployment", {"containers": [container()]})
    marked = namespace(delivry="volume", files="web", named_at="2026-11-28", log_level="debug")
    shown = vkube("explain", written(tmp_path, web, marked), OFFLINE)
    assert "annotation vanadium.io/delivry has no effect: no such annotation is known" in shown
    assert "annotation vanadium.io/files has no effect: state it on the Pod template" in shown
    assert shown.count("has no effect") == 2


def test_what_is_injected_is_what_is_explained(tmp_path: Path) -> None:
    file = written(tmp_path, workload("Deployment", {"containers": [restricted_container()]}))
    shown = vkube("explain", file, OFFLINE)
    assert "Subject:                   Deployment shop/web\n" in shown
    assert "Rule that matched:         Injected\n" in shown
    assert "Pod Security restricted:   passes\n" in shown
    assert "+  - name: vanadium-pod-agent\n" in shown
    (item,) = json.loads(vkube("explain", file, OFFLINE, "-o", "json"))["items"]
    assert item["identity"] is True
    assert item["patch"]


@pytest.mark.parametrize(
    ("subject", "reason", "todo"),
    [
        (pod(hostNetwork=True), "HostNetwork", "label the Pod template vanadium.io/inject=enabled"),
        (pod(labels={"vanadium.io/inject": "disabled"}), "DisabledByLabel", "remove the label"),
        (pod(labels={"vanadium.io/inject": "yes"}), "InvalidLabel", "set the label"),
        (pod(container("vanadium-pod-agent")), "ContainerClash", "rename it in your manifest"),
        (pod(os={"name": "windows"}), "WindowsPod", "there is no pod agent for Windows"),
        (pod(annotations={"vanadium.io/ttl": "soon"}), "InvalidAnnotation", "correct the annotation"),
    ],
)
def test_why_a_pod_gets_no_identity_and_what_to_do(
    tmp_path: Path, subject: dict[str, Any], reason: str, todo: str
) -> None:
    ended = called("explain", written(tmp_path, subject), OFFLINE)
    assert ended.code == 4
    assert f"Rule that matched:         {reason}\n" in ended.stdout
    assert f"What to do:                {todo}" in ended.stdout


def test_a_pod_that_would_be_refused_is_not_injected(tmp_path: Path) -> None:
    file = written(tmp_path, pod(container("vanadium-pod-agent")))
    said = vkube("inject", "-f", file, OFFLINE, ends=1)
    assert f"{file}, document 1, Pod default/web-1: " in said
    assert "To do: rename it in your manifest" in said


def test_a_pod_that_is_skipped_is_printed_as_it_is(tmp_path: Path) -> None:
    subject = pod(hostNetwork=True)
    ended = called("inject", "-f", written(tmp_path, subject), OFFLINE)
    assert yaml.safe_load(ended.stdout) == subject
    assert "Pod default/web-1: left as it is, the Pod uses the node's network" in ended.stderr


def test_a_workload_without_a_template_is_not_printed_as_if_it_were_injected(tmp_path: Path) -> None:
    file = written(tmp_path, {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {}})
    said = vkube("inject", "-f", file, OFFLINE, ends=1)
    assert f"{file}, document 1: spec.template.spec is missing, or is no mapping" in said


@pytest.mark.parametrize("kind", ["Rollout", "deployment"])
def test_a_kind_that_is_not_known_is_printed_as_it_is_and_told(tmp_path: Path, kind: str) -> None:
    """A custom resource that makes Pods, and a mistyped kind, are not taken for injected."""
    manifest = {**workload("Deployment", {"containers": [container()]}), "kind": kind}
    ended = called("inject", "-f", written(tmp_path, manifest), OFFLINE)
    assert yaml.safe_load(ended.stdout) == manifest
    assert ended.stderr == (
        f"warning: {kind} shop/web: left as it is, with its Pod template: vkube knows no kind {kind}\n"
    )


def test_an_empty_name_of_a_file_is_not_the_current_directory() -> None:
    """As in `-f "$FILE"`, where the variable is not set."""
    assert "expected a file" in vkube("inject", "-f", "", OFFLINE, ends=1)


def test_what_is_wrong_with_the_files_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, {"kind": "Service", "metadata": {"name": "web"}})
    assert "no manifest there makes a Pod" in vkube("explain", file, OFFLINE, ends=1)
    assert "expected a file; a Pod needs the cluster" in vkube("explain", "web-1", OFFLINE, ends=2)
    assert "cannot read" in vkube("inject", "-f", tmp_path / "none.yaml", OFFLINE, ends=1)


def test_there_is_advice_for_each_reason_that_a_pod_can_have() -> None:
    of_requests = {
        AdmissionReason.NOT_A_CREATE, AdmissionReason.NOT_A_POD, AdmissionReason.SUBRESOURCE,
    }  # fmt: skip
    of_pods = [one for one in AdmissionReason if one.value[0].isupper() and one not in of_requests]
    missing = [one.value for one in of_pods if one not in _ADVICE]
    assert all("Review" in one or "Body" in one or one in _WIRE for one in missing), missing
    assert advice(AdmissionReason.NOT_A_POD) == "see the message"


_WIRE = {
    *("UnsupportedMediaType", "InvalidJSON", "TooDeeplyNested", "TooManyValues", "NoRoom"),
    *("InvalidHTTP", "HeadTooLarge", "MethodNotAllowed"),
}


@pytest.mark.parametrize(
    ("selector", "labels", "missing"),
    [
        (None, {}, None),
        ({"matchLabels": {"a": "1"}}, {"a": "1"}, None),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, "a=1"),
        (
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x", "y"]}]},
            {"a": "x"},
            "a NotIn x, y",
        ),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["x"]}]}, {}, None),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}]}, {}, "a In x"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, "a Exists"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"b": ""}, None),
    ],
)
def test_selectors_select_as_the_api_server_does(
    selector: dict[str, Any] | None, labels: dict[str, str], missing: str | None
) -> None:
    assert mismatch(selector, labels) == missing
