"""`vkube start`, `update` and `stop` on a real API server, with Pods that run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.endtoend.installation import Installation, flags
from tests.vkube.command import vkube
from tests.waiting import wait_for

NAMESPACE = "vkube-workloads"
SLEEP = ["python", "-c", "import time; time.sleep(600)"]


def deployment(deadline_seconds: int = 600, **container: object) -> dict[str, Any]:
    labels = {"app": "fortuned"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fortuned", "namespace": NAMESPACE},
        "spec": {
            "progressDeadlineSeconds": deadline_seconds,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "fortuned",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "app", "image": "x", "command": SLEEP, **container}],
                },
            },
        },
    }


ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "fortuned", "namespace": NAMESPACE},
}


@pytest.fixture(scope="module")
def manifest(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("manifest") / "fortuned.yaml"
    write(file, deployment())
    yield file
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def write(file: Path, workload: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump_all([ACCOUNT, workload]))


def credentials(installed: Installation, account: str) -> list[str]:
    """What is in force, as the cluster agent has it."""
    listed = json.loads(vkube("get", "secrets", "-n", NAMESPACE, "-o", "json", *flags(installed)))["items"]
    return [one["id"] for one in listed if one["serviceAccount"] == account]


def test_a_workload_lives_by_vkube_alone(installed: Installation, manifest: Path) -> None:
    """One test: each step begins with what the previous one left."""
    more = flags(installed)
    installed.kubectl("create", "namespace", NAMESPACE)

    refused = vkube("start", "-f", manifest, "Fortuned", *more, ends=1)
    assert f"would have no identity: the namespace {NAMESPACE} is not labelled vanadium.io/inject=" in refused
    refused = vkube("update", "-f", manifest, *more, ends=1)
    assert f"Deployment {NAMESPACE}/fortuned is not running: vkube start creates it" in refused

    installed.kubectl("label", "namespace", NAMESPACE, "vanadium.io/inject=enabled")
    installed.wait_until_injected(NAMESPACE)
    refused = vkube("start", "-f", manifest, "fortuned", *more, ends=1)
    assert "acme:prod:fortuned is the name of a namespace; choose one that no namespace can have" in refused
    # The application is there before its name is, so the webhook has made a credential for another name.
    installed.kubectl("create", "serviceaccount", "fortuned", "-n", NAMESPACE)
    wait_for("a credential", lambda: credentials(installed, "fortuned"))
    said = vkube("start", "-f", manifest, "Fortuned", *more)
    assert credentials(installed, "fortuned"), "its Pods would wait until the webhook looks by itself"
    vkube("stop", "-f", manifest, "--wait", *more)
    wait_for("a credential", lambda: credentials(installed, "fortuned"))
    said = vkube("start", "-f", manifest, "Fortuned", "--wait", *more)
    assert f"{NAMESPACE}/fortuned: named acme:prod:Fortuned, by a grant of the agent's own" in said
    assert f"Deployment {NAMESPACE}/fortuned: created" in said
    assert f"Deployment {NAMESPACE}/fortuned: 1 of 1 updated, 1 of 1 available" in said
    (pod,) = installed.ready_pods(NAMESPACE, 1)
    name = f"acme:prod:Fortuned:{pod['metadata']['name']}"
    assert f"replica/{name}\n" in vkube("get", "replicas", "-n", NAMESPACE, "-o", "name", *more)

    refused = vkube("start", "-f", manifest, *more, ends=1)
    assert f"Deployment {NAMESPACE}/fortuned is already running" in refused

    # A later kubectl apply of the same file undoes nothing of it, and makes no Pod anew.
    before = installed.get("deployment", "fortuned", "-n", NAMESPACE)
    installed.kubectl("apply", "-f", str(manifest))
    after = installed.get("deployment", "fortuned", "-n", NAMESPACE)
    assert after["spec"] == before["spec"]
    assert after["spec"]["template"]["metadata"]["labels"]["vanadium.io/inject"] == "enabled"

    write(manifest, deployment(5, command=["no-such-program"]))
    refused = vkube("update", "-f", manifest, "--wait", "--force-conflicts", *more, ends=1)
    assert "has timed out progressing" in refused
    assert f"Rolled back to the previous Pod template: Deployment {NAMESPACE}/fortuned" in refused
    back = installed.get("deployment", "fortuned", "-n", NAMESPACE)["spec"]["template"]
    assert back["spec"]["containers"][0]["command"] == SLEEP
    assert back["metadata"]["labels"]["vanadium.io/inject"] == "enabled"

    write(manifest, deployment(env=[{"name": "A", "value": "b"}]))
    said = vkube("update", "-f", manifest, "--wait", "--force-conflicts", *more)
    assert f"Deployment {NAMESPACE}/fortuned: updated" in said
    (pod,) = installed.ready_pods(NAMESPACE, 1)
    name = f"acme:prod:Fortuned:{pod['metadata']['name']}"

    said = vkube("stop", "-f", manifest, "--wait", *more)
    assert f"Deployment {NAMESPACE}/fortuned: deleted" in said
    assert f"{NAMESPACE}/fortuned: no longer named acme:prod:Fortuned" in said
    assert f"{name}: revoked as soon as its Pod is gone" in said
    assert installed.get("pods", "-n", NAMESPACE)["items"] == []
    assert installed.get("serviceaccount", "fortuned", "-n", NAMESPACE)
    refused = vkube("stop", "-f", manifest, *more, ends=1)
    assert f"Deployment {NAMESPACE}/fortuned is not running" in refused


def test_what_is_no_workload_and_what_no_api_knows_is_refused_before_anything_is_made(
    installed: Installation, tmp_path: Path
) -> None:
    more = flags(installed)
    file = tmp_path / "m.yaml"
    file.write_text(yaml.safe_dump_all([ACCOUNT]))
    assert "there is no workload in" in vkube("start", "-f", file, *more, ends=1)
    file.write_text(yaml.safe_dump_all([deployment(), {**deployment(), "apiVersion": "apps/v9"}]))
    refused = vkube("start", "-f", file, *more, ends=1)
    assert f"{file}, document 2: the API server has no Deployment in apps/v9" in refused
    file.write_text(yaml.safe_dump(deployment()))
    refused = vkube("start", "-f", file, "-n", "elsewhere", *more, ends=1)
    assert f"Deployment {NAMESPACE}/fortuned is not in the namespace of -n, elsewhere" in refused
    refused = vkube("start", "-f", file, "x", "--noblessings", *more, ends=2)
    assert "EXTENSION names an application; with --noblessings there is none" in refused


def test_a_job_without_an_identity_is_started_and_waited_for(installed: Installation, tmp_path: Path) -> None:
    more = flags(installed)
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "app", "image": "x", "command": ["python", "-c", "pass"]}],
                }
            }
        },
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    command = ["-f", tmp_path / "job.yaml", "-n", "default", *more]
    said = vkube("start", "--noblessings", "--wait", *command)
    assert "Job default/once: 1 of 1 completed" in said
    template = installed.get("job", "once", "-n", "default")["spec"]["template"]
    assert template["metadata"]["labels"]["vanadium.io/inject"] == "disabled"
    assert "Job default/once: deleted" in vkube("stop", "--noblessings", "--wait", *command)
