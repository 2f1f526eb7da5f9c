"""The product installed by vkube alone, in a namespace of another name, on Pods that a kubelet runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import everything, execute, rolled_out, wait_until_injecting
from tests.cluster.workloads import PRINT_ID, deployment, make_namespace, spiffe_id
from tests.vkube.command import called, vkube
from tests.waiting import CLUSTER_PATIENCE_SECONDS

SYSTEM, PLACE = "identity", "moved"
WAIT = ("--wait", "--wait-timeout", CLUSTER_PATIENCE_SECONDS)


@pytest.fixture
def configured(empty_cluster: Cluster, flags: list[str], tmp_path: Path) -> Iterator[list[object]]:
    configure(tmp_path)
    configured = [*flags, "--config", tmp_path / "vkube.cfg"]
    yield configured
    empty_cluster.kubectl("delete", "namespace", PLACE, "--ignore-not-found")
    called("stop-cluster-agent", "--delete-data", "--wait", *configured)


def configure(directory: Path, **cluster_agent: str) -> None:
    cluster_agent = {"namespace": SYSTEM, "admin": "vanadium-control-plane:administrator", **cluster_agent}
    (directory / "vkube.cfg").write_text(json.dumps({"clusterAgent": cluster_agent}))


def test_identities_outlive_a_failed_update_and_a_stop_and_nothing_is_left_in_the_end(
    empty_cluster: Cluster, configured: list[object], tmp_path: Path
) -> None:
    kubectl = empty_cluster.kubectl
    before = everything(kubectl)
    said = vkube("start-cluster-agent", *WAIT, *configured)
    assert f"Deployment {SYSTEM}/cluster-agent: 1 of 1 updated, 1 of 1 available" in said
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    kubectl.apply(deployment(PLACE, "web", 1))
    (pod,) = kubectl.ready_pods(PLACE, 1)
    name = pod["metadata"]["name"]
    assert execute(kubectl, PLACE, name, "app", *PRINT_ID) == (0, f"{spiffe_id(PLACE, name)}\n")
    assert f"replica/acme:prod:{PLACE}:default:{name}\n" in vkube(
        "get", "replicas", "-n", PLACE, "-o", "name", *configured
    )

    configure(tmp_path, image="vanadium/cluster-agent:there-is-none")
    failed = vkube("update-cluster-agent", "--wait", "--wait-timeout", "5", *configured, ends=1)
    assert "Rolled back to the previous Pod template" in failed

    # Until then, a Pod may be made after a stop has looked for Pods and before it deletes their Deployment.
    rolled_out(kubectl, SYSTEM, "cluster-agent")
    configure(tmp_path)
    assert "No identity is lost" in called("stop-cluster-agent", *WAIT, *configured).stderr
    assert kubectl.get("pods", "-n", SYSTEM)["items"] == []
    vkube("start-cluster-agent", *WAIT, *configured)
    assert f"replica/acme:prod:{PLACE}:default:{name}\n" in vkube(
        "get", "replicas", "-n", PLACE, "-o", "name", *configured
    )
    wait_until_injecting(kubectl, PLACE)
    kubectl("delete", "pod", name, "-n", PLACE)
    (pod,) = kubectl.ready_pods(PLACE, 1)
    name = pod["metadata"]["name"]
    assert execute(kubectl, PLACE, name, "app", *PRINT_ID) == (0, f"{spiffe_id(PLACE, name)}\n")

    said = vkube("stop-cluster-agent", "--delete-data", *WAIT, *configured)
    assert f"Secret {PLACE}/vanadium-bootstrap: deleted" in said
    kubectl("delete", "namespace", PLACE)
    assert everything(kubectl) == before
