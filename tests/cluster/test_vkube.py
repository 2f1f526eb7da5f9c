"""vkube on a real node: through a forwarded port, as its user may, on Pods that a kubelet runs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.installation import (
    ADMINISTRATOR,
    ADMINISTRATORS,
    SYSTEM,
    administer,
    rolled_out,
    wait_until_injecting,
)
from tests.cluster.workloads import deployment, make_namespace, pod
from tests.vkube.command import called, vkube
from tests.waiting import CLUSTER_PATIENCE_SECONDS, PATIENCE_SECONDS, wait_for

PLACE = "vkube"


@pytest.fixture(scope="module")
def replicas(installed: Cluster) -> Iterator[list[str]]:
    """Names of two Pods with an identity."""
    kubectl = installed.kubectl
    make_namespace(kubectl, PLACE)
    wait_until_injecting(kubectl, PLACE)
    kubectl.apply(deployment(PLACE, "web", 2))
    yield [one["metadata"]["name"] for one in kubectl.ready_pods(PLACE, 2)]
    kubectl("delete", "namespace", PLACE, "--wait=false")


def test_in_quick_start_the_message_tells_how_to_administer(installed: Cluster, flags: list[str]) -> None:
    """Its command is run, so the tests below may administer."""
    kubectl = installed.kubectl
    kubectl("set", "env", "deployment/cluster-agent", f"{ADMINISTRATORS}-", "-n", SYSTEM)
    rolled_out(kubectl, SYSTEM, "cluster-agent")
    said = vkube("get", "replicas", "-A", *flags, ends=1)
    assert f"the cluster agent does not let {ADMINISTRATOR} administer" in said
    assert f"kubectl -n {SYSTEM} set env deployment/cluster-agent {ADMINISTRATORS}=" in said
    administer(kubectl)


def test_an_installation_that_is_well_passes_every_check(
    administering: list[str], replicas: list[str]
) -> None:
    ended = called("check", "--wait", "--wait-timeout", str(CLUSTER_PATIENCE_SECONDS), *administering)
    assert ended.code == 0, ended.output
    assert "FAIL" not in ended.stdout
    assert " checks: " in ended.stdout


def test_replicas_are_seen_through_the_forwarded_port(administering: list[str], replicas: list[str]) -> None:
    listed = vkube("get", "replicas", "-n", PLACE, "-o", "name", *administering).split()
    assert listed == sorted(f"replica/acme:prod:{PLACE}:default:{name}" for name in replicas)
    state = json.loads(vkube("status", "-n", PLACE, "-o", "json", *administering))
    assert state["applications"][0]["replicas"] == 2
    assert state["withoutIdentity"] == []


def test_the_way_to_an_identity_and_the_logs_are_there(administering: list[str], replicas: list[str]) -> None:
    ended = called("events", replicas[0], "-n", PLACE, *administering)
    shown = ended.stdout
    assert re.fullmatch(r"identity after \d+\.\ds\n", ended.stderr)
    steps = [line.split(maxsplit=2)[2] for line in shown.splitlines()[1:]]
    runs, has = (
        next(at for at, one in enumerate(steps) if word in one) for word in ("started (", "blessed (")
    )
    assert runs < has
    assert f"acme:prod:{PLACE}:default:{replicas[0]}" in shown
    assert '"event": "blessed"' in vkube("logs", replicas[0], "-n", PLACE, *administering)
    assert '"event": "starting"' in vkube("logs", "cluster-agent", *administering)
    assert called("logs", "webhook", *administering).stderr.count("== webhook-") == 2
    assert vkube("logs", "cluster-agent", "--since", "1s", "--tail", "0", *administering) == ""
    assert "previous terminated container" in vkube(
        "logs", replicas[0], "-p", "-n", PLACE, *administering, ends=1
    )


@pytest.fixture
def followed(installed: Cluster, replicas: list[str]) -> Iterator[str]:
    """The name of one more Pod with an identity, which is gone afterwards in any case."""
    kubectl, name = installed.kubectl, "followed"
    try:
        kubectl.apply(pod(PLACE, name, {}))
        kubectl.ready_pods(PLACE, 3)
        yield name
    finally:
        kubectl("delete", "pod", name, "-n", PLACE, "--ignore-not-found")


def test_the_logs_of_both_webhooks_are_followed(
    installed: Cluster, administering: list[str], replicas: list[str]
) -> None:
    kubectl, manifest = installed.kubectl, json.dumps(pod(PLACE, "asking", {}))
    command = [sys.executable, "-m", "vkube", "logs", *administering, "webhook", "-f", "--tail", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as following:
        lines: Queue[dict[str, Any]] = Queue()

        def read() -> None:
            for line in following.stdout or ():
                lines.put(json.loads(line))

        def admission() -> bool:
            # Asked again and again: nothing tells when the command has begun to follow.
            kubectl("create", "--dry-run=server", "-f", "-", stdin=manifest)
            return any(lines.get()["event"] == "admission" for _ in range(lines.qsize()))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            wait_for("an admission's line", admission)
        finally:
            following.send_signal(signal.SIGINT)
            reader.join(PATIENCE_SECONDS)
        assert following.wait(PATIENCE_SECONDS) == 130


def test_the_log_of_a_pod_agent_is_followed_until_its_pod_ends(
    installed: Cluster, administering: list[str], followed: str
) -> None:
    command = [sys.executable, "-m", "vkube", "logs", *administering, followed, "-f", "-n", PLACE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        # Not communicate(), which loses what was read ahead with the first line.
        first = following.stdout.readline()
        installed.kubectl("delete", "pod", followed, "-n", PLACE)
        printed = first + following.stdout.read()
        assert following.wait(PATIENCE_SECONDS) == 0
    assert '"event": "blessed"' in printed
    assert all(json.loads(line) for line in printed.splitlines())


def test_the_audit_is_verified_by_what_the_cluster_has(administering: list[str], replicas: list[str]) -> None:
    ended = called("audit", "verify", *administering)
    # 4 where an earlier test restored a backup: its records from before are noted in logs that are gone.
    assert ended.code in (0, 4), ended.output
    assert "WRONG" not in ended.stdout
    assert ended.stdout.endswith("noted heads: all as written, as far as noted\n")


def test_a_replica_is_revoked_and_every_other_one_learns_of_it(
    administering: list[str], replicas: list[str]
) -> None:
    first, second = replicas
    waiting = ("--wait", "--wait-timeout", CLUSTER_PATIENCE_SECONDS)
    done = called("revoke", "--pod", first, "-n", PLACE, *waiting, *administering)
    assert done.code == 0, done.output
    assert done.stdout.startswith(f"revoked: replica acme:prod:{PLACE}:default:{first}, ")
    assert done.stdout.endswith("every live replica has them\n")
    listed: list[dict[str, Any]] = json.loads(
        vkube("get", "replicas", "-n", PLACE, "-o", "json", *administering)
    )["items"]
    assert [one["pod"] for one in listed] == [second]


def test_pods_from_before_the_label_get_an_identity_by_restart(
    installed: Cluster, administering: list[str]
) -> None:
    kubectl, place = installed.kubectl, f"{PLACE}-later"
    kubectl("create", "namespace", place)
    try:
        kubectl.apply(deployment(place, "web", 1))
        kubectl.ready_pods(place, 1)
        assert "deployment/web   injected" in vkube("preflight", place, *administering)
        kubectl("label", "namespace", place, "vanadium.io/inject=enabled")
        assert vkube("restart", place, *administering) == "deployment/web restarted\n"

        def named() -> bool:
            return len(vkube("get", "replicas", "-n", place, "-o", "name", *administering).split()) == 1

        wait_for("a replica", named, CLUSTER_PATIENCE_SECONDS, lambda: kubectl.story(place))
    finally:
        kubectl("delete", "namespace", place, "--wait=false")
