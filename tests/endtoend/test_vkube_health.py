"""status, check, events and logs on a real API server, with the real webhook and cluster agent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.endtoend.installation import SYSTEM, Installation, flags
from tests.pods import pod, restricted_container
from tests.vkube.command import called, vkube
from tests.waiting import wait_for

NAMESPACE = "vkube-health"


@pytest.fixture(scope="module")
def namespace(installed: Installation) -> Iterator[str]:
    """A labelled namespace: a Pod from before the label that no node takes, and a replica that runs."""
    installed.kubectl("create", "namespace", NAMESPACE)
    early = pod(restricted_container(), name="early", nodeSelector={"nowhere": "yes"})
    early["metadata"]["namespace"] = NAMESPACE
    wait_for("a service account", lambda: _applied(installed, early))
    installed.kubectl("label", "namespace", NAMESPACE, "vanadium.io/inject=enabled")
    installed.wait_until_injected(NAMESPACE)
    replica = pod(restricted_container(command=["sleep", "3600"]), name="web-1")
    replica["metadata"]["namespace"] = NAMESPACE
    installed.apply(replica)
    wait_for("a live replica", lambda: _replicas(installed), 120, installed.logs_end)
    yield NAMESPACE
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _applied(installed: Installation, manifest: dict[str, Any]) -> bool:
    done = installed.control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(manifest), check=False)
    return bool(done.returncode == 0)


def _replicas(installed: Installation) -> list[str]:
    return vkube("get", "replicas", "-n", NAMESPACE, "-o", "name", *flags(installed)).split()


def test_status_has_the_replicas_and_those_who_lack_an_identity(
    installed: Installation, namespace: str
) -> None:
    assert _replicas(installed) == [f"replica/acme:prod:{NAMESPACE}:default:web-1"]
    state = json.loads(vkube("status", "-n", namespace, "-o", "json", *flags(installed)))
    assert state["root"] == "self-made"
    assert state["attestor"] == "token-review"
    assert state["administrator"] == "vanadium-control-plane:administrator"
    assert [one["name"] for one in state["applications"]] == [f"acme:prod:{namespace}:default"]
    assert state["outageBudgetSeconds"]["first"] <= 45
    assert state["withoutIdentity"] == [
        {
            "namespace": namespace,
            "pod": "early",
            "why": "created before the label, or while the webhook was away",
            "whatToDo": "delete it and create it again",
        }
    ]
    shown = vkube("status", *flags(installed))
    assert shown.startswith("Root:")
    assert f"acme:prod:{namespace}:default" in shown
    assert "POD WITHOUT IDENTITY" in shown


def test_the_way_to_an_identity_is_told_step_by_step(installed: Installation, namespace: str) -> None:
    ended = called("events", "web-1", "-n", namespace, *flags(installed)[:2])
    assert ended.code == 0, ended.output
    header, first, *rest = ended.stdout.splitlines()
    assert header.split() == ["TIME", "AFTER", "SOURCE", "WHAT"]
    assert first.split()[1:] == ["+0.0s", "Pod", "created"]
    assert any("vanadium-pod-agent: started" in line for line in rest)
    # There is no kubelet here whose log could be asked for.
    assert "without the pod agent's log: " in ended.stderr
    assert "not found" in vkube("events", "none", "-n", namespace, *flags(installed)[:2], ends=1)
    assert "no Pod of webhook is in the namespace" in vkube("logs", "webhook", *flags(installed)[:2], ends=1)
    said = vkube("logs", "webhok", "-n", namespace, *flags(installed)[:2], ends=1)
    assert f"no Pod webhok in the namespace {namespace}; the parts are cluster-agent and webhook" in said


def results(installed: Installation, *options: str, ends: int) -> dict[str, dict[str, Any]]:
    ended = called("check", "-o", "json", *options, *flags(installed))
    assert ended.code == ends, ended.output
    return {one["name"]: one for one in json.loads(ended.stdout)["items"]}


def test_check_finds_what_is_missing_here_and_says_what_to_do(
    installed: Installation, namespace: str
) -> None:
    """The programs of these tests run beside the cluster, so it has no Pods of them."""
    found = results(installed, ends=4)
    assert len(found) >= 40
    failed = {name for name, one in found.items() if one["verdict"] == "FAIL"}
    assert failed == {
        "webhook is available",
        "cluster-agent is available",
        "Service webhook has endpoints",
        "Service cluster-agent has endpoints",
        "volume of the cluster agent",
    }
    assert all(found[name]["todo"] for name in failed)
    assert found["Pods of labelled namespaces have an identity"]["verdict"] == "warn"
    assert f"vkube restart {namespace}" in found["Pods of labelled namespaces have an identity"]["todo"]
    shown = called("check", *flags(installed)).stdout.splitlines()
    assert shown[0].split() == ["RESULT", "CHECK", "FOUND", "WHAT", "TO", "DO"]
    assert shown[-1].startswith(f"{len(found)} checks: ")
    before = results(installed, "--before", ends=0)
    assert "version of Kubernetes" in before
    assert "webhook: caBundle" not in before


def test_check_finds_a_foreign_ca_bundle_and_a_webhook_that_fails_closed(installed: Installation) -> None:
    """The webhook mends the caBundle within half a minute; a copy of its configuration tells of the rest."""
    path = "mutatingwebhookconfiguration"
    patch = [
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"},
        {"op": "replace", "path": "/webhooks/0/reinvocationPolicy", "value": "Never"},
    ]
    installed.kubectl("patch", path, "vanadium-webhook", "--type=json", "-p", json.dumps(patch))
    try:
        found = results(installed, ends=4)
    finally:
        for one, value in zip(patch, ("Ignore", "IfNeeded"), strict=True):
            one["value"] = value
        installed.kubectl("patch", path, "vanadium-webhook", "--type=json", "-p", json.dumps(patch))
    assert found["webhook: fails open"]["what"] == "its failurePolicy is not Ignore"
    assert found["webhook: is called again"]["what"] == "its reinvocationPolicy is Never"


def test_a_user_with_no_rights_learns_what_could_not_be_checked(
    installed: Installation, tmp_path: Path
) -> None:
    control_plane = installed.control_plane
    token = control_plane.kubectl("create", "token", "default", "-n", SYSTEM).stdout.strip()
    kubeconfig = control_plane.kubeconfig_for(token, "vkube-check-nobody")
    ended = called("check", "-o", "json", "--kubeconfig", kubeconfig)
    found = {one["name"]: one for one in json.loads(ended.stdout)["items"]}
    assert ended.code == 4
    assert found["what is checked can be read"]["verdict"] == "warn"
    assert found["what is checked can be read"]["what"].startswith("cannot read ")
    assert ", nodes, " in found["what is checked can be read"]["what"]
    assert found["right to create deployments"]["verdict"] == "FAIL"
