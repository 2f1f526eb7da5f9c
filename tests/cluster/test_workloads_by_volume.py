"""What users deploy with `vanadium.io/delivery: volume`, on a real node: the kubelet keeps the identity, and
nothing runs beside the application. Replicas of both deliveries know each other by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    POD_AGENT,
    SYSTEM,
    container_statuses,
    execute,
    name_of,
    rolled_out,
    wait_until_injecting,
    wait_until_kubelets_can,
)
from tests.cluster.node import NAME as NODE
from tests.cluster.workloads import (
    PRINT_NAME,
    STAY,
    container,
    delivered,
    deployment,
    fortune,
    job,
    make_namespace,
    pod,
)
from tests.kubectl import Kubectl
from tests.kubelets import Kubelets
from tests.vkube.command import called, vkube
from tests.waiting import CLUSTER_PATIENCE_SECONDS, wait_for
from webhook.layout import IDENTITY_VOLUME

PLACE = "by-volume"
APPLICATION = f"acme:prod:{PLACE}:default"
# Prints the serial numbers on the application's lists, which any Pod may read.
_PRINT_REVOKED = f"""
from agent_client import PublishedLists
from blessings import Name
lists = PublishedLists("https://cluster-agent.{SYSTEM}.svc:8193")
_, found = lists.revocation_lists_since(Name.parse("{APPLICATION}"), None)
print(*(serial for one in found.entries for serial in one.serials))
"""
PRINT_REVOKED = ("python", "-c", _PRINT_REVOKED)


@dataclass
class Fleet:
    """The Pods of both deliveries, once they are ready, by the name of their workload."""

    kubectl: Kubectl
    pods: dict[str, list[dict[str, Any]]]

    def run(self, replica: dict[str, Any], *argv: str) -> str:
        """What the command prints in the Pod's first container."""
        name = replica["spec"]["containers"][0]["name"]
        code, printed = execute(self.kubectl, PLACE, name_of(replica), name, *argv)
        assert code == 0, printed
        return printed.strip()

    def call(self, client: dict[str, Any], server: dict[str, Any]) -> str:
        """What the server's Pod answers, after the name that it proved."""
        address = f"{server['status']['podIP']}:2345"
        call = ("python", "-m", "fortune", "get", "--expect", APPLICATION, "--connect")
        return self.run(client, *call, address)

    def identity(self, replica: dict[str, Any]) -> tuple[str, int]:
        """The Pod's name, and the serial number of its certificate."""
        name, serial = self.run(replica, *PRINT_NAME).split()
        return name, int(serial)


@pytest.fixture(scope="module")
def fleet(installed: Cluster) -> Iterator[Fleet]:
    kubectl = installed.kubectl
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    kubectl.apply(fortune(PLACE, "by-sidecar", 1))
    wait_until_kubelets_can(kubectl, PLACE)
    (before,) = wait_for("its Pod", lambda: kubectl.get("pods", "-n", PLACE)["items"])
    assert POD_AGENT in [one["name"] for one in before["spec"]["initContainers"]]
    kubectl("annotate", "namespace", PLACE, "vanadium.io/delivery=auto")
    wait_until_injecting(kubectl, PLACE, IDENTITY_VOLUME)
    task = {"initContainers": [container(*PRINT_NAME, name="first")], "containers": [container(*PRINT_NAME)]}
    kubectl.apply(
        fortune(PLACE, "by-volume", 3, "volume"),
        fortune(PLACE, "by-namespace", 1),
        delivered(deployment(PLACE, "leaving", 1, {"containers": [container(*STAY)]}), "volume"),
        delivered(job(PLACE, "task", task), "volume"),
    )
    for name in ("by-volume", "by-sidecar", "by-namespace", "leaving"):
        rolled_out(kubectl, PLACE, name)
    pods: dict[str, list[dict[str, Any]]] = {}
    for one in kubectl.get("pods", "-n", PLACE, "-l", "app!=task")["items"]:
        pods.setdefault(one["metadata"]["labels"]["app"], []).append(one)
    yield Fleet(kubectl, pods)
    kubectl("delete", "namespace", PLACE, "--wait=false")


def test_three_replicas_have_names_and_nothing_runs_beside_them(fleet: Fleet) -> None:
    pods = fleet.pods["by-volume"]
    assert [fleet.identity(one)[0] for one in pods] == [f"{APPLICATION}:{name_of(one)}" for one in pods]
    assert len(pods) == 3
    for one in [*pods, *fleet.pods["by-namespace"]]:
        assert [status["name"] for status in container_statuses(one)] == ["fortune"]
        assert not [volume for volume in one["spec"]["volumes"] if "secret" in volume]


def test_replicas_of_both_deliveries_call_each_other_by_name_over_mtls(fleet: Fleet) -> None:
    (sidecar,), volumes = fleet.pods["by-sidecar"], fleet.pods["by-volume"]
    for client, server in ((sidecar, volumes[0]), (volumes[0], sidecar), (volumes[1], volumes[2])):
        assert fleet.call(client, server).startswith(f"{APPLICATION}:{name_of(server)}: ")


def test_a_job_and_its_init_container_have_the_identity(fleet: Fleet) -> None:
    kubectl = fleet.kubectl
    kubectl(
        "wait", "--for=condition=Complete", "job/task", "-n", PLACE, f"--timeout={CLUSTER_PATIENCE_SECONDS}s"
    )
    (done,) = kubectl.get("pods", "-n", PLACE, "-l", "job-name=task")["items"]
    for name in ("first", "app"):
        printed = kubectl("logs", "-n", PLACE, name_of(done), "-c", name).stdout
        assert printed.startswith(f"{APPLICATION}:{name_of(done)} ")


def test_vkube_treats_both_alike(fleet: Fleet, administering: list[str]) -> None:
    listed = vkube("get", "replicas", "-n", PLACE, "-o", "name", *administering).split()
    for one in (*fleet.pods["by-volume"], *fleet.pods["by-sidecar"]):
        assert f"replica/{APPLICATION}:{name_of(one)}" in listed
    assert json.loads(vkube("status", "-n", PLACE, "-o", "json", *administering))["withoutIdentity"] == []
    ended = called("events", name_of(fleet.pods["by-volume"][0]), "-n", PLACE, *administering)
    assert re.fullmatch(r"identity after \d+\.\ds\n", ended.stderr), ended.stderr
    assert "certificate issued, until " in ended.stdout
    explained = vkube("explain", "deployment/by-namespace", "-n", PLACE, *administering)
    assert "volume: vanadium.io/delivery is auto, and the kubelet of each node can" in explained


def test_a_rollout_takes_a_workload_from_its_sidecars_to_volumes(fleet: Fleet) -> None:
    kubectl, (before,), client = fleet.kubectl, fleet.pods["by-sidecar"], fleet.pods["by-volume"][0]
    kubectl("rollout", "restart", "deployment/by-sidecar", "-n", PLACE)
    rolled_out(kubectl, PLACE, "by-sidecar")
    pods = kubectl.get("pods", "-n", PLACE, "-l", "app=by-sidecar")["items"]
    (after,) = [one for one in pods if name_of(one) != name_of(before)]
    assert [status["name"] for status in container_statuses(after)] == ["fortune"]
    assert fleet.call(client, after).startswith(f"{APPLICATION}:{name_of(after)}: ")


def test_a_deleted_pod_s_certificate_is_on_the_list_that_any_pod_may_read(fleet: Fleet) -> None:
    (leaving,), reader = fleet.pods["leaving"], fleet.pods["by-volume"][0]
    _, serial = fleet.identity(leaving)
    fleet.kubectl("delete", "deployment", "leaving", "-n", PLACE, "--wait=false")
    wait_for("the list", lambda: str(serial) in fleet.run(reader, *PRINT_REVOKED).split())


def test_a_revoked_pod_s_refresh_is_denied_and_attacks_get_no_certificate(
    installed: Cluster, fleet: Fleet, administering: list[str]
) -> None:
    if installed.node is None:
        pytest.skip("an existing cluster's kubelet is not ours to speak for")
    revoked, whole, _ = fleet.pods["by-volume"]
    said = vkube("revoke", "--pod", name_of(revoked), "-n", PLACE, "--wait", *administering)
    assert "every live replica with a pod agent has them" in said
    with Kubelets(installed.node.control_plane) as kubelets:
        assert kubelets.denied(kubelets.asked(revoked))[0] == "Revoked"
        annotated = kubelets.asked(whole, unverifiedUserAnnotations={"example.com/name": "acme:prod:bank"})
        assert kubelets.denied(annotated)[0] == "UnknownAnnotation"
        spec = {"nodeName": "no-node-of-ours", "terminationGracePeriodSeconds": 0}
        fleet.kubectl.apply(delivered(pod(PLACE, "elsewhere", spec), "volume"))
        elsewhere = fleet.kubectl.get("pod", "elsewhere", "-n", PLACE)
        node = {"nodeName": NODE, "nodeUID": fleet.kubectl.get("node", NODE)["metadata"]["uid"]}
        account = kubelets.service_account(PLACE, "another")["metadata"]
        another = {"serviceAccountName": "another", "serviceAccountUID": account["uid"]}
        for refused in (
            kubelets.ask(whole, by="administrator"),
            kubelets.ask({**elsewhere, "spec": {**elsewhere["spec"], "nodeName": NODE}}, **node),
            kubelets.ask(whole, **another),
        ):
            assert refused.is_client_error, refused.text
        kubelets.delete_pod(elsewhere)
