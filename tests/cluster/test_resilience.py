"""What goes wrong on a real node: parts killed, nodes restarted, the webhook away. Identity comes back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    LABEL,
    POD_AGENT,
    SYSTEM,
    agent_container,
    container_status,
    execute,
    logs,
    name_of,
    rolled_out,
)
from tests.cluster.node import Node
from tests.cluster.workloads import PRINT_ID, deployment, namespace, spiffe_id
from tests.kubectl import Kubectl, is_ready, wait_for

PLACE = "resilience"


@pytest.fixture(scope="module")
def kubectl(installed: Cluster) -> Iterator[Kubectl]:
    kubectl = installed.kubectl
    kubectl.apply(namespace(PLACE))
    wait_for("service account", lambda: kubectl.exists("serviceaccount", "default", "-n", PLACE))
    yield kubectl
    kubectl("delete", "namespace", PLACE)


@pytest.fixture
def node(installed: Cluster) -> Node:
    if installed.node is None:
        pytest.skip("an existing cluster's node is not ours to stop or to kill on")
    return installed.node


@pytest.fixture
def web(kubectl: Kubectl) -> Iterator[dict[str, Any]]:
    """The Pod of a Deployment with one replica, ready."""
    kubectl.apply(deployment(PLACE, "web", 1))
    rolled_out(kubectl, PLACE, "web")
    yield the_pod(kubectl)
    kubectl("delete", "deployment", "web", "-n", PLACE, "--cascade=foreground")


def the_pod(kubectl: Kubectl) -> dict[str, Any]:
    (found,) = kubectl.get("pods", "-n", PLACE, "-l", "app=web")["items"]
    result: dict[str, Any] = found
    return result


def kill(node: Node, pod: dict[str, Any], container: str) -> None:
    """Kills every process of a container, as the kernel does when its memory is used up."""
    container_id = container_status(pod, container)["containerID"].removeprefix("containerd://")
    group = node.container_cgroup("memory", container_id)
    for process in (group / "cgroup.procs").read_text().split():
        os.kill(int(process), signal.SIGKILL)


def restarted(kubectl: Kubectl, container: str) -> dict[str, Any]:
    """The Pod once that container has been started again and all is ready."""

    def look() -> dict[str, Any] | None:
        pod = the_pod(kubectl)
        return pod if is_ready(pod) and container_status(pod, container)["restartCount"] else None

    found = wait_for(f"{container} restarted", look, 60, lambda: kubectl.story(PLACE))
    assert found is not None
    return found


def served_id(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """What the application is given, asked until the pod agent is there again."""

    def ask() -> str:
        code, printed = execute(kubectl, PLACE, name_of(pod), "app", *PRINT_ID)
        return printed.strip() if code == 0 else ""

    return wait_for("an identity", ask, 60, lambda: kubectl.story(PLACE))


def until_gone(kubectl: Kubectl, selector: str, where: str = SYSTEM) -> None:
    wait_for("no Pods", lambda: not kubectl.exists("pods", "-n", where, "-l", selector), 60)


def test_a_killed_pod_agent_comes_back_with_the_same_name_and_the_application_goes_on(
    kubectl: Kubectl, node: Node, web: dict[str, Any]
) -> None:
    kill(node, web, POD_AGENT)
    pod = restarted(kubectl, POD_AGENT)
    assert served_id(kubectl, pod) == spiffe_id(PLACE, name_of(web))
    assert container_status(pod, "app")["restartCount"] == 0


def test_a_killed_application_starts_again_with_its_identity_at_hand(
    kubectl: Kubectl, node: Node, web: dict[str, Any]
) -> None:
    kill(node, web, "app")
    pod = restarted(kubectl, "app")
    assert served_id(kubectl, pod) == spiffe_id(PLACE, name_of(web))
    assert agent_container(pod)["restartCount"] == 0


def test_replicas_keep_their_identities_while_the_node_is_restarted(
    kubectl: Kubectl, node: Node, web: dict[str, Any]
) -> None:
    node.stop("kubelet", "containerd")
    node.start("containerd", "kubelet")
    wait_for("a ready Pod", lambda: is_ready(the_pod(kubectl)), 90, lambda: kubectl.story(PLACE))
    assert served_id(kubectl, the_pod(kubectl)) == spiffe_id(PLACE, name_of(web))
    # And the node does its work again.
    kubectl("rollout", "restart", "deployment/web", "-n", PLACE)
    rolled_out(kubectl, PLACE, "web")
    until_gone(kubectl, f"app=web,pod-template-hash={web['metadata']['labels']['pod-template-hash']}", PLACE)
    assert served_id(kubectl, the_pod(kubectl)) == spiffe_id(PLACE, name_of(the_pod(kubectl)))


def test_a_rollout_completes_although_the_cluster_agent_is_deleted_meanwhile(
    kubectl: Kubectl, web: dict[str, Any]
) -> None:
    kubectl("scale", "deployment/web", "--replicas=4", "-n", PLACE)
    kubectl("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=cluster-agent", "--wait=false")
    rolled_out(kubectl, PLACE, "web")
    for pod in kubectl.get("pods", "-n", PLACE, "-l", "app=web")["items"]:
        assert served_id(kubectl, pod) == spiffe_id(PLACE, name_of(pod))


@pytest.fixture
def no_webhook(kubectl: Kubectl) -> Iterator[Callable[[], None]]:
    """The webhook is away, until the function is called or the test ends."""

    def bring_back() -> None:
        kubectl("scale", "deployment/webhook", "--replicas=2", "-n", SYSTEM)
        rolled_out(kubectl, SYSTEM, "webhook")

    kubectl("scale", "deployment/webhook", "--replicas=0", "-n", SYSTEM)
    until_gone(kubectl, "app.kubernetes.io/name=webhook")
    yield bring_back
    bring_back()


@pytest.mark.parametrize("enforce", ["off", "warn", "deny"])
def test_pods_created_while_the_webhook_is_away_run_without_identity_or_are_refused_as_configured(
    kubectl: Kubectl, no_webhook: Callable[[], None], enforce: str
) -> None:
    where = f"enforce-{enforce}"
    kubectl.apply(namespace(where, **({} if enforce == "off" else {"enforce": enforce})))
    try:
        wait_for("service account", lambda: kubectl.exists("serviceaccount", "default", "-n", where))
        kubectl.apply(deployment(where, "web", 1))
        if enforce == "deny":
            wait_for("refusal", lambda: "this Pod has none" in kubectl.story(where), 30)
            assert not kubectl.exists("pods", "-n", where)
        else:
            (pod,) = kubectl.ready_pods(where, 1)
            assert "initContainers" not in pod["spec"]
        no_webhook()
        if enforce != "deny":  # what runs without identity says so by having none, until it is replaced
            kubectl("rollout", "restart", "deployment/web", "-n", where)
        (pod,) = wait_for(
            "an injected Pod", lambda: _injected_alone(kubectl, where), 90, lambda: kubectl.story(where)
        )
        assert execute(kubectl, where, name_of(pod), "app", *PRINT_ID) == (
            0, spiffe_id(where, name_of(pod)) + "\n",
        )  # fmt: skip
    finally:
        kubectl("delete", "namespace", where)


def test_the_webhooks_pods_come_back_unaided(kubectl: Kubectl) -> None:
    kubectl("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=webhook")
    rolled_out(kubectl, SYSTEM, "webhook")
    kubectl.apply(deployment(PLACE, "web", 1))
    try:
        rolled_out(kubectl, PLACE, "web")
        assert agent_container(the_pod(kubectl))["ready"]
    finally:
        kubectl("delete", "deployment", "web", "-n", PLACE, "--cascade=foreground")


def test_a_deleted_namespace_is_forgotten_and_one_of_the_same_name_starts_anew(kubectl: Kubectl) -> None:
    for _ in range(2):
        kubectl.apply(namespace("short-lived"))
        wait_for("account", lambda: kubectl.exists("serviceaccount", "default", "-n", "short-lived"))
        kubectl.apply(deployment("short-lived", "web", 2))
        pods = kubectl.ready_pods("short-lived", 2)
        kubectl("delete", "namespace", "short-lived", "--timeout=60s")
        assert len(pods) == 2
    assert "Traceback" not in logs(kubectl)


def test_a_namespace_that_loses_its_label_gets_no_more_identities(kubectl: Kubectl) -> None:
    where = "unlabelled"
    kubectl.apply(namespace(where))
    try:
        wait_for("Secret", lambda: kubectl.exists("secret", "vanadium-bootstrap", "-n", where))
        kubectl("label", "namespace", where, f"{LABEL}-")
        wait_for("no Secret", lambda: not kubectl.exists("secret", "vanadium-bootstrap", "-n", where))
        kubectl.apply(deployment(where, "web", 1))
        (pod,) = kubectl.ready_pods(where, 1)
        assert "initContainers" not in pod["spec"]
    finally:
        kubectl("delete", "namespace", where)


def _injected_alone(kubectl: Kubectl, where: str) -> list[dict[str, Any]]:
    pods: list[dict[str, Any]] = kubectl.get("pods", "-n", where)["items"]
    return pods if len(pods) == 1 and is_ready(pods[0]) and "initContainers" in pods[0]["spec"] else []
