"""What goes wrong on a real node: parts killed, nodes restarted, the webhook away. Identity comes back."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import yaml
from stolen_secret import refusal, seek, stolen

from pod_agent.credential import Credential
from tests.checkout import CHECKOUT
from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    LABEL,
    POD_AGENT,
    SYSTEM,
    agent_container,
    container_status,
    container_statuses,
    execute,
    forwarded,
    name_of,
    rolled_out,
    wait_until_injecting,
)
from tests.cluster.node import Node
from tests.cluster.workloads import PRINT_ID, ask_agent, deployment, make_namespace, pod, spiffe_id
from tests.kubectl import Kubectl, is_ready
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for

PLACE = "resilience"
FORTUNE = CHECKOUT / "examples/fortune/deployment.yaml"


@pytest.fixture(scope="module")
def kubectl(installed: Cluster) -> Iterator[Kubectl]:
    kubectl = installed.kubectl
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    yield kubectl
    kubectl("delete", "namespace", PLACE, "--wait=false")


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
        with suppress(ProcessLookupError):  # the end of the container's first process ends the others
            os.kill(int(process), signal.SIGKILL)


def restarted(kubectl: Kubectl, container: str) -> dict[str, Any]:
    """The Pod once that container has been started again and all is ready."""

    def look() -> dict[str, Any] | None:
        pod = the_pod(kubectl)
        return pod if is_ready(pod) and container_status(pod, container)["restartCount"] else None

    found = wait_for(f"{container} restarted", look, CLUSTER_PATIENCE_SECONDS, lambda: kubectl.story(PLACE))
    assert found is not None
    return found


def served_id(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """What the application is given, asked until the pod agent is there again."""

    def ask() -> str:
        code, printed = execute(kubectl, PLACE, name_of(pod), "app", *PRINT_ID)
        return printed.strip() if code == 0 else ""

    return wait_for("an identity", ask, CLUSTER_PATIENCE_SECONDS, lambda: kubectl.story(PLACE))


def until_gone(kubectl: Kubectl, selector: str, where: str = SYSTEM) -> None:
    wait_for(
        "no Pods",
        lambda: not kubectl.exists("pods", "-n", where, "-l", selector),
        CLUSTER_PATIENCE_SECONDS,
        lambda: kubectl.story(where),
    )


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


def key_of(kubectl: Kubectl, pod: dict[str, Any]) -> str:
    """The public key that the agent protocol shows: another one says that the identity was fetched anew."""
    code, printed = execute(kubectl, PLACE, name_of(pod), "app", *ask_agent("/v1/chain"))
    assert code == 0, printed
    key: str = json.loads(printed)["publicKey"]
    return key


def test_replicas_keep_their_identities_while_the_node_is_restarted(
    kubectl: Kubectl, node: Node, web: dict[str, Any]
) -> None:
    key = key_of(kubectl, web)
    node.stop("kubelet", "containerd")
    node.start("containerd", "kubelet")
    # kubectl exec goes by the kubelet and containerd: both are there again when it answers.
    assert served_id(kubectl, web) == spiffe_id(PLACE, name_of(web))
    assert key_of(kubectl, web) == key
    restarts = {one["name"]: one["restartCount"] for one in container_statuses(the_pod(kubectl))}
    assert restarts == {POD_AGENT: 0, "app": 0}
    # And the node does its work again.
    kubectl("rollout", "restart", "deployment/web", "-n", PLACE)
    rolled_out(kubectl, PLACE, "web")
    until_gone(kubectl, f"app=web,pod-template-hash={web['metadata']['labels']['pod-template-hash']}", PLACE)
    assert served_id(kubectl, the_pod(kubectl)) == spiffe_id(PLACE, name_of(the_pod(kubectl)))


def test_a_rollout_completes_although_the_cluster_agent_is_deleted_meanwhile(
    kubectl: Kubectl, fortune: Callable[[int], list[dict[str, Any]]]
) -> None:
    (old,) = fortune(1)
    kubectl("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=cluster-agent", "--wait=false")
    kubectl("scale", "deployment/fortune", "--replicas=3", "-n", PLACE)
    rolled_out(kubectl, PLACE, "fortune")
    # Named before and after, and still of one root: each trusts the other.
    new = [pod for pod in fortune(3) if name_of(pod) != name_of(old)]
    for caller, called in ((old, new[0]), (new[1], old)):
        identify = ("python", "-m", "fortune", "identify", "--connect", f"{called['status']['podIP']}:2345")
        code, printed = execute(kubectl, PLACE, name_of(caller), "fortune", *identify)
        assert code == 0, printed
        assert f"VALID:     [acme:prod:{PLACE}:default:{name_of(called)}]" in printed
    # A rollout, too, replaces each Pod by one with an identity.
    kubectl("rollout", "restart", "deployment/fortune", "-n", PLACE)
    kubectl("delete", "pod", "-n", SYSTEM, "-l", "app.kubernetes.io/name=cluster-agent", "--wait=false")
    rolled_out(kubectl, PLACE, "fortune")
    assert name_of(old) not in {name_of(pod) for pod in fortune(3) if agent_container(pod)["ready"]}


@pytest.fixture
def without_cluster_agent(kubectl: Kubectl) -> Iterator[Callable[[], None]]:
    """None runs; the function brings it back."""

    def back() -> None:
        kubectl("scale", "deployment/cluster-agent", "--replicas=1", "-n", SYSTEM)
        rolled_out(kubectl, SYSTEM, "cluster-agent")

    wait_for("a credential", lambda: kubectl.exists("secret", "vanadium-bootstrap", "-n", PLACE))
    kubectl("scale", "deployment/cluster-agent", "--replicas=0", "-n", SYSTEM)
    until_gone(kubectl, "app.kubernetes.io/name=cluster-agent")
    yield back
    back()


def test_a_pod_that_waits_at_most_so_long_starts_without_an_identity_and_gets_it_later(
    kubectl: Kubectl, without_cluster_agent: Callable[[], None]
) -> None:
    made = pod(PLACE, "prompt", {})
    made["metadata"]["annotations"] = {"vanadium.io/startup-wait": "2s"}
    kubectl.apply(made)
    wait_for(
        "a ready Pod",
        lambda: is_ready(kubectl.get("pod", "prompt", "-n", PLACE)),
        CLUSTER_PATIENCE_SECONDS,
        lambda: kubectl.story(PLACE),
    )
    code, printed = execute(kubectl, PLACE, "prompt", "app", *ask_agent("/v1/chain"))
    assert code == 0, printed
    assert json.loads(printed)["error"]["reason"] == "NotYetBlessed"
    without_cluster_agent()
    prompt = kubectl.get("pod", "prompt", "-n", PLACE)
    assert served_id(kubectl, prompt) == spiffe_id(PLACE, "prompt")
    assert agent_container(prompt)["restartCount"] == 0


@pytest.fixture
def fortune(kubectl: Kubectl) -> Iterator[Callable[[int], list[dict[str, Any]]]]:
    """The sample application with one replica. The function returns its Pods that do not end, once so many
    are ready."""
    sample = next(one for one in yaml.safe_load_all(FORTUNE.read_text()) if one["kind"] == "Deployment")
    sample["metadata"]["namespace"] = PLACE
    sample["spec"]["replicas"] = 1
    del sample["spec"]["template"]["spec"]["serviceAccountName"]
    kubectl.apply(sample)
    rolled_out(kubectl, PLACE, "fortune")

    def look() -> list[dict[str, Any]]:
        found = kubectl.get("pods", "-n", PLACE, "-l", "app=fortune")["items"]
        return [pod for pod in found if is_ready(pod)]

    def pods(count: int) -> list[dict[str, Any]]:
        story = partial(kubectl.story, PLACE)
        return wait_for(f"{count} Pods", lambda: found if len(found := look()) == count else [], story=story)

    yield pods
    kubectl("delete", "deployment", "fortune", "-n", PLACE, "--cascade=foreground")


@dataclass(frozen=True)
class Meanwhile:
    """What happened in a namespace while the webhook was away."""

    place: str
    complaint: str
    plain: list[dict[str, Any]]


def enforced(mode: str) -> str:
    """The namespace for a mode of enforcement."""
    return f"enforce-{mode}"


@pytest.fixture(scope="module")
def meanwhile(kubectl: Kubectl) -> Iterator[dict[str, Meanwhile]]:
    """For each mode of enforcement a namespace with a Deployment, all of them made while the webhook was away
    once; it has come back since."""
    kubectl("scale", "deployment/webhook", "--replicas=0", "-n", SYSTEM)
    until_gone(kubectl, "app.kubernetes.io/name=webhook")
    try:
        complaints = {mode: _apply_without_webhook(kubectl, mode) for mode in ("off", "warn", "deny")}
        seen = {
            mode: Meanwhile(
                enforced(mode), complaint, [] if mode == "deny" else kubectl.ready_pods(enforced(mode), 1)
            )
            for mode, complaint in complaints.items()
        }
        story = partial(kubectl.story, enforced("deny"))
        wait_for("refusal", lambda: "this Pod has none" in story(), CLUSTER_PATIENCE_SECONDS, story)
        assert not kubectl.exists("pods", "-n", enforced("deny"))
    finally:
        kubectl("scale", "deployment/webhook", "--replicas=2", "-n", SYSTEM)
        rolled_out(kubectl, SYSTEM, "webhook")
        wait_until_injecting(kubectl, PLACE)
    yield seen
    kubectl("delete", "namespace", *map(enforced, complaints), "--wait=false")


def _apply_without_webhook(kubectl: Kubectl, mode: str) -> str:
    """What kubectl says to a bare Pod; a Deployment is applied, too."""
    where = enforced(mode)
    make_namespace(kubectl, where, **({} if mode == "off" else {"enforce": mode}))
    bare = json.dumps(pod(where, "bare", {}))
    said = kubectl("apply", "--dry-run=server", "-f", "-", stdin=bare, check=False).stderr
    kubectl.apply(deployment(where, "web", 1))
    return said


@pytest.mark.parametrize("mode", ["off", "warn", "deny"])
def test_pods_created_while_the_webhook_is_away_run_without_identity_or_are_refused_as_configured(
    kubectl: Kubectl, meanwhile: dict[str, Meanwhile], mode: str
) -> None:
    seen = meanwhile[mode]
    where = seen.place
    assert ("this Pod has none" in seen.complaint) == (mode != "off")
    assert ("Warning:" in seen.complaint) == (mode == "warn")
    assert len(seen.plain) == (mode != "deny")
    assert not any("initContainers" in plain["spec"] for plain in seen.plain)
    if mode != "deny":  # what runs without identity says so by having none, until it is replaced
        kubectl("rollout", "restart", "deployment/web", "-n", where)
    # What was refused is tried again after a pause as long as the webhook was away.
    (healed,) = wait_for(
        "an injected Pod",
        lambda: _injected_alone(kubectl, where),
        CLUSTER_PATIENCE_SECONDS,
        lambda: kubectl.story(where),
    )
    assert execute(kubectl, where, name_of(healed), "app", *PRINT_ID) == (
        0, spiffe_id(where, name_of(healed)) + "\n",
    )  # fmt: skip


def test_the_webhooks_pods_come_back_unaided(kubectl: Kubectl) -> None:
    kubectl("delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=webhook")
    rolled_out(kubectl, SYSTEM, "webhook")
    wait_until_injecting(kubectl, PLACE)
    kubectl.apply(deployment(PLACE, "web", 1))
    try:
        rolled_out(kubectl, PLACE, "web")
        assert agent_container(the_pod(kubectl))["ready"]
    finally:
        kubectl("delete", "deployment", "web", "-n", PLACE, "--cascade=foreground")


def test_a_deleted_namespace_is_forgotten_and_one_of_the_same_name_starts_anew(
    kubectl: Kubectl, web: dict[str, Any]
) -> None:
    credentials = []
    for _ in range(2):
        make_namespace(kubectl, "short-lived")
        kubectl.apply(deployment("short-lived", "web", 2))
        for one in kubectl.ready_pods("short-lived", 2):
            code, printed = execute(kubectl, "short-lived", name_of(one), "app", *PRINT_ID)
            assert (code, printed) == (0, spiffe_id("short-lived", name_of(one)) + "\n")
        stored = kubectl.get("secret", "vanadium-bootstrap", "-n", "short-lived")["data"]
        data = {key: base64.b64decode(value).decode() for key, value in stored.items()}
        credentials.append(stolen(data, "default"))
        kubectl("delete", "namespace", "short-lived")
    assert credentials[0].blessing != credentials[1].blessing
    # Within the cluster, as somebody who kept what was in the Secret would try.
    for credential in credentials:
        wait_for("SecretForgotten", lambda kept=credential: "SecretForgotten" in _seek_with(kubectl, kept))  # type: ignore[misc]


def _seek_with(kubectl: Kubectl, credential: Credential) -> str:
    """The cluster agent's answer to a client with a bootstrap credential."""
    with forwarded(kubectl, SYSTEM, "service/cluster-agent", 8193) as port:
        return refusal(seek(f"https://127.0.0.1:{port}", credential, ""))


def test_a_namespace_that_loses_its_label_gets_no_more_identities(kubectl: Kubectl) -> None:
    where = "unlabelled"
    make_namespace(kubectl, where)
    try:
        wait_for("Secret", lambda: kubectl.exists("secret", "vanadium-bootstrap", "-n", where))
        kubectl("label", "namespace", where, f"{LABEL}-")
        wait_for("no Secret", lambda: not kubectl.exists("secret", "vanadium-bootstrap", "-n", where))
        kubectl.apply(deployment(where, "web", 1))
        (pod,) = kubectl.ready_pods(where, 1)
        assert "initContainers" not in pod["spec"]
    finally:
        kubectl("delete", "namespace", where, "--wait=false")


def _injected_alone(kubectl: Kubectl, where: str) -> list[dict[str, Any]]:
    pods: list[dict[str, Any]] = kubectl.get("pods", "-n", where)["items"]
    return pods if len(pods) == 1 and is_ready(pods[0]) and "initContainers" in pods[0]["spec"] else []
