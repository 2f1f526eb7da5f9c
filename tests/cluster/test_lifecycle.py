"""Installation, upgrade and removal, on a cluster that has nothing of ours."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest

from tests.cluster import workloads
from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    OPERATIONS,
    POD_AGENT,
    SYSTEM,
    agent_container,
    container_status,
    everything,
    execute,
    install,
    logs,
    name_of,
    rolled_out,
    uninstall,
)
from tests.cluster.workloads import ask_agent, deployment, make_namespace
from tests.images.previous import Release
from tests.kubectl import Kubectl
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for

PLACE = "upgraded"
# Short, so that replicas renew while the test looks on.
TTL_SECONDS = 40
# Pods that are made one after the other as soon as the webhook is available.
AT_ONCE = 5


def chain_of(kubectl: Kubectl, pod_name: str) -> dict[str, Any]:
    code, printed = execute(kubectl, PLACE, pod_name, "app", *ask_agent("/v1/chain"))
    assert code == 0, printed
    answer: dict[str, Any] = json.loads(printed)
    return answer


def wait_for_renewals(kubectl: Kubectl, pods: list[str]) -> None:
    """Until each has a key that it has not now."""

    def key_of(pod: str) -> str | None:
        """None while it has no blessing that is valid: the cluster agent was away for too long."""
        key: str | None = chain_of(kubectl, pod).get("publicKey")
        return key

    keys = {pod: wait_for(f"a blessing of {pod}", partial(key_of, pod)) for pod in pods}
    for pod, key in keys.items():
        wait_for(
            f"a renewal of {pod}",
            lambda pod=pod, key=key: key_of(pod) not in (None, key),  # type: ignore[misc]
            CLUSTER_PATIENCE_SECONDS,
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
    kubectl("apply", "-k", str(previous_release.deploy))
    ttl = f"VANADIUM_CLUSTER_AGENT_TTL_SECONDS={TTL_SECONDS}"
    minimum = "VANADIUM_CLUSTER_AGENT_MINIMUM_TTL_SECONDS=1"
    kubectl("set", "env", "deployment/cluster-agent", "-n", SYSTEM, ttl, minimum)
    for part in ("cluster-agent", "webhook"):
        rolled_out(kubectl, SYSTEM, part)
    make_namespace(kubectl, PLACE)
    kubectl.apply(deployment(PLACE, "web", 2))
    old = [name_of(pod) for pod in kubectl.ready_pods(PLACE, 2)]

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


@pytest.mark.parametrize("first", ["cluster-agent", "webhook"])
def test_the_parts_may_become_ready_in_any_order_and_a_pod_made_when_the_wait_returns_is_injected(
    empty_cluster: Cluster, first: str
) -> None:
    """By the command of docs/operations.md, which is all that a pipeline has to wait for."""
    kubectl = empty_cluster.kubectl
    other = {"cluster-agent": "webhook", "webhook": "cluster-agent"}[first]
    (wait,) = re.findall(r"^    kubectl (wait .*deployment/webhook.*)$", OPERATIONS.read_text(), re.MULTILINE)
    make_namespace(kubectl, "ordered")  # labelled before there is anybody to see it
    asking = json.dumps(workloads.pod("ordered", "asking", {}))

    def ask() -> None:
        for _ in range(AT_ONCE):
            made = kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=asking).stdout
            assert POD_AGENT in made, logs(kubectl)

    kubectl("apply", "-k", "deploy")
    kubectl("scale", f"deployment/{other}", "--replicas=0", "-n", SYSTEM)
    if first == "webhook":  # the cluster agent's Pod waits for the certificate that the webhook makes
        kubectl(*wait.split())
        ask()
    else:
        pods = ("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=cluster-agent", "-o", "name")
        wait_for("the waiting Pod", lambda: kubectl(*pods).stdout)
    kubectl("scale", f"deployment/{other}", "--replicas=1", "-n", SYSTEM)
    if first == "cluster-agent":
        rolled_out(kubectl, SYSTEM, "webhook")  # by its generation: one with no replicas is available, too
        ask()
    rolled_out(kubectl, SYSTEM, "cluster-agent")
    kubectl.apply(deployment("ordered", "web", 1))
    (pod,) = kubectl.ready_pods("ordered", 1)
    assert agent_container(pod)["ready"]
    kubectl("delete", "namespace", "ordered")
    uninstall(kubectl)
