"""Installation, upgrade and removal, on a cluster that has nothing of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    POD_AGENT,
    SYSTEM,
    container_status,
    everything,
    execute,
    install,
    logs,
    name_of,
    rolled_out,
    uninstall,
)
from tests.cluster.workloads import ask_agent, deployment, namespace
from tests.images.previous import Release
from tests.kubectl import Kubectl, wait_for

PLACE = "upgraded"
# Short, so that replicas renew while the test looks on.
TTL_SECONDS = 40


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    """Without the product: other tests may have installed it."""
    if cluster.kubectl.exists("namespace", SYSTEM):
        uninstall(cluster.kubectl)
    return cluster


def chain_of(kubectl: Kubectl, pod_name: str) -> dict[str, Any]:
    code, printed = execute(kubectl, PLACE, pod_name, "app", *ask_agent("/v1/chain"))
    assert code == 0, printed
    answer: dict[str, Any] = json.loads(printed)
    return answer


def wait_for_renewals(kubectl: Kubectl, pods: list[str]) -> None:
    """Until each has a key that it has not now."""
    keys = {pod: chain_of(kubectl, pod)["publicKey"] for pod in pods}
    for pod, key in keys.items():
        wait_for(
            f"a renewal of {pod}",
            lambda pod=pod, key=key: chain_of(kubectl, pod)["publicKey"] != key,  # type: ignore[misc]
            TTL_SECONDS,
            lambda: f"{kubectl.story(PLACE)}\n{logs(kubectl)}",
        )


def test_replicas_of_the_previous_version_renew_through_an_upgrade_and_removal_leaves_nothing(
    empty_cluster: Cluster, previous_release: Release
) -> None:
    kubectl = empty_cluster.kubectl
    before = everything(kubectl)
    if empty_cluster.node:
        for archive in previous_release.images.values():
            empty_cluster.node.load(archive)
    install(kubectl, previous_release.deploy)
    ttl = f"VANADIUM_CLUSTER_AGENT_TTL_SECONDS={TTL_SECONDS}"
    minimum = "VANADIUM_CLUSTER_AGENT_MINIMUM_TTL_SECONDS=1"
    kubectl("set", "env", "deployment/cluster-agent", "-n", SYSTEM, ttl, minimum)
    rolled_out(kubectl, SYSTEM, "cluster-agent")
    kubectl.apply(namespace(PLACE))
    wait_for("service account", lambda: kubectl.exists("serviceaccount", "default", "-n", PLACE))
    kubectl.apply(deployment(PLACE, "web", 2))
    old = [name_of(pod) for pod in kubectl.ready_pods(PLACE, 2)]
    wait_for_renewals(kubectl, old)

    install(kubectl)
    wait_for_renewals(kubectl, old)
    kubectl("scale", "deployment/web", "--replicas=3", "-n", PLACE)
    pods = kubectl.ready_pods(PLACE, 3)
    images = {name_of(pod): container_status(pod, POD_AGENT)["image"].rpartition(":")[2] for pod in pods}
    assert {images[name] for name in old} == {"0.1.0"}
    assert {version for name, version in images.items() if name not in old} == {"0.2.0"}
    assert all(container_status(pod, POD_AGENT)["restartCount"] == 0 for pod in pods)
    wait_for_renewals(kubectl, list(images))

    uninstall(kubectl)
    kubectl("delete", "namespace", PLACE)
    assert everything(kubectl) == before
