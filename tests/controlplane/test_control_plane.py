"""The control plane is a real one: what the end-to-end tests rely on, shown on its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.controlplane.control_plane import ControlPlane
from tests.waiting import wait_for

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "nodeSelector": {"made": "by-hand"},  # other tests have nodes, too
                "containers": [{"name": "web", "image": "web"}],
            },
        },
    },
}
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "by-hand", "labels": {"made": "by-hand"}},
}
NODE_STATUS = {
    "status": {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "20"},
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "20"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "by hand"}],
    }
}


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """One of the test's own: the last one's is still being deleted."""
    name = request.node.name.replace("_", "-")[:50].rstrip("-")
    control_plane.kubectl("create", "namespace", name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def test_rbac_denies_who_was_given_nothing(control_plane: ControlPlane, namespace: str) -> None:
    wait_for("default service account", lambda: _exists(control_plane, namespace, "serviceaccount/default"))
    token = control_plane.kubectl("create", "token", "default", "-n", namespace).stdout
    nobody = control_plane.kubeconfig_for(token, "nobody")
    denied = control_plane.kubectl("--kubeconfig", str(nobody), "get", "secrets", "-A", check=False)
    assert "Forbidden" in denied.stderr


def test_a_deployment_becomes_pods_on_a_node_and_a_pods_token_dies_with_it(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(NODE))
    control_plane.kubectl(
        "patch", "node", "by-hand", "--subresource=status", "--type=merge", "-p", json.dumps(NODE_STATUS)
    )
    try:
        control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(DEPLOYMENT))
        pods = wait_for("two scheduled pods", lambda: _scheduled(control_plane, namespace))
        pod = pods[0]
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod['metadata']['name']}")
        token = control_plane.kubectl(
            "create", "token", "default", "-n", namespace, "--audience=ours", *bound
        ).stdout.strip()
        user = _review(control_plane, token)["user"]
        assert user["username"] == f"system:serviceaccount:{namespace}:default"
        assert user["extra"]["authentication.kubernetes.io/pod-name"] == [pod["metadata"]["name"]]
        assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [pod["metadata"]["uid"]]

        name = pod["metadata"]["name"]
        control_plane.kubectl("delete", "pod", "-n", namespace, name, "--grace-period=0", "--force")
        # The API server may answer from its cache of authenticated tokens for ten seconds.
        wait_for("refused token", lambda: not _review(control_plane, token).get("authenticated"))
    finally:
        control_plane.kubectl("delete", "node", "by-hand")


def _exists(control_plane: ControlPlane, namespace: str, what: str) -> bool:
    return control_plane.kubectl("get", "-n", namespace, what, check=False).returncode == 0


def _scheduled(control_plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    pods = json.loads(control_plane.kubectl("get", "pods", "-n", namespace, "-o", "json").stdout)["items"]
    return pods if [pod["spec"].get("nodeName") for pod in pods] == ["by-hand"] * 2 else []


def _review(control_plane: ControlPlane, token: str) -> dict[str, Any]:
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": ["ours"]},
    }
    answer = control_plane.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review)).stdout
    status: dict[str, Any] = json.loads(answer)["status"]
    return status
