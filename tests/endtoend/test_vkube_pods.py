"""explain, inject, preflight and restart on a real API server, with the real webhook."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.endtoend.installation import Installation
from tests.pods import container, pod, restricted_container
from tests.vkube.command import called, vkube
from tests.waiting import wait_for
from vkube.admission.pod_security import violations
from vkube.connection.cluster import Cluster
from vkube.errors import ForbiddenError

NAMESPACE = "vkube-pods"


def flags(installed: Installation) -> list[object]:
    return ["--kubeconfig", installed.control_plane.kubeconfig]


@pytest.fixture(scope="module")
def reached(installed: Installation) -> Iterator[Cluster]:
    options = argparse.Namespace(
        kubeconfig=installed.control_plane.kubeconfig, context=None, config=None, namespace=NAMESPACE
    )
    with Cluster.of(options) as api:
        yield api


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    """Of no replicas, so that nothing runs."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [restricted_container()], **spec},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


@pytest.fixture(scope="module")
def namespace(installed: Installation) -> Iterator[str]:
    """Not labelled, with three workloads, and one Pod that no node takes."""
    installed.kubectl("create", "namespace", NAMESPACE)
    installed.apply(
        deployment("good"),
        deployment("host", hostNetwork=True),
        deployment("clash", volumes=[{"name": "vanadium-socket", "emptyDir": {}}]),
    )
    mistyped = {"vanadium.io/ttyl": "1h"}
    created = pod(restricted_container(), name="early", annotations=mistyped, nodeSelector={"nowhere": "yes"})
    created["metadata"]["namespace"] = NAMESPACE
    wait_for("a service account", lambda: _applied(installed, created))
    yield NAMESPACE
    installed.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _applied(installed: Installation, manifest: dict[str, Any]) -> bool:
    done = installed.control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(manifest), check=False)
    return bool(done.returncode == 0)


def wanted(installed: Installation, namespace: str) -> list[dict[str, Any]]:
    """All that is in the namespace, as its authors want it: controllers write the rest at any time."""
    items: list[dict[str, Any]] = installed.get("all", "-n", namespace)["items"]
    for one in items:
        one.pop("status", None)
        del one["metadata"]["resourceVersion"]
    return items


def test_preflight_foresees_and_changes_nothing(installed: Installation, namespace: str) -> None:
    def is_settled() -> bool:
        """Whether the Deployments' controller has made what it makes of them."""
        found = installed.get("deployments", "-n", namespace)["items"]
        return all(one.get("status", {}).get("observedGeneration") for one in found)

    wait_for("the Deployments' controller", is_settled)
    before = wanted(installed, namespace)
    ended = called("preflight", namespace, *flags(installed), "-o", "json")
    rows = {one["workload"]: one for one in json.loads(ended.stdout)["items"]}
    assert {name: (one["result"], one["reason"]) for name, one in rows.items()} == {
        "pod/early": ("injected", "Injected"),
        "deployment/good": ("injected", "Injected"),
        "deployment/host": ("skipped", "HostNetwork"),
        "deployment/clash": ("refused", "VolumeClash"),
    }
    assert ended.code == 4
    assert ended.stderr == "2 injected, 1 skipped, 1 refused; nothing was changed\n"
    shown = called("preflight", namespace, *flags(installed))
    assert shown.stdout.splitlines()[0].split() == ["WORKLOAD", "RESULT", "REASON", "WHAT", "TO", "DO"]
    ttyl = "annotation vanadium.io/ttyl is not one that the injection knows; did you mean vanadium.io/ttl?"
    early, clash = shown.stderr.removeprefix(ended.stderr).splitlines()
    assert early == f"warning: pod/early: {ttyl}"
    assert clash.startswith(
        "warning: deployment/clash: spec.volumes[0] is named vanadium-socket, which is the"
    )
    assert wanted(installed, namespace) == before
    replayed = called("preflight", "--upgrade", namespace, *flags(installed), "-o", "json")
    assert (replayed.code, json.loads(replayed.stdout)["items"]) == (0, [])
    assert "expected a namespace" in vkube("preflight", *flags(installed), ends=2)
    assert "there is no namespace nowhere" in vkube("preflight", "nowhere", *flags(installed), ends=1)
    excluded = called("preflight", "kube-system", *flags(installed), "-o", "json")
    assert all(one["result"] == "skipped" for one in json.loads(excluded.stdout)["items"])


def test_preflight_names_the_limit_range_and_the_quota_that_would_refuse(
    installed: Installation, namespace: str
) -> None:
    limits = {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]}
    rules = (("LimitRange", limits), ("ResourceQuota", {"hard": {"limits.memory": "1Mi"}}))
    for kind, spec in rules:
        metadata = {"name": "tight", "namespace": namespace}
        installed.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
    try:
        ended = called("preflight", namespace, *flags(installed), "-o", "json")
        rows = {one["workload"]: one for one in json.loads(ended.stdout)["items"]}
        assert rows["deployment/good"]["reason"] == "LimitRange"
        assert "LimitRange tight: limits.memory of container" in rows["deployment/good"]["whatToDo"]
        assert "is needed for 1 Pod with the pod agent" in ended.stderr
        assert ended.code == 4
    finally:
        for kind, _ in rules:
            installed.kubectl("delete", kind, "tight", "-n", namespace)


def test_a_pod_of_an_unlabelled_namespace_is_explained_then_restarted(
    installed: Installation, namespace: str, tmp_path: Path
) -> None:
    here = ["-n", namespace, *flags(installed)]
    ended = called("explain", "early", *here)
    assert ended.code == 4
    assert f"Webhook called:            no: the namespace {namespace} is not labelled" in ended.stdout
    assert f"kubectl label namespace {namespace} vanadium.io/inject=enabled" in ended.stdout
    installed.kubectl("label", "namespace", namespace, "vanadium.io/inject=enabled")
    ended = called("explain", "early", *here)
    assert ended.code == 4
    assert "Webhook called:            yes\n" in ended.stdout
    assert f"What to do:                create it again (vkube restart {namespace})" in ended.stdout
    assert called("explain", "deployment/good", *here).code == 0
    assert "VolumeClash" in called("explain", "deployments/clash", *here).stdout
    assert 'pods "late" not found' in vkube("explain", "late", *here, ends=1)

    warned = called("restart", namespace, *flags(installed))
    assert warned.code == 4
    assert "warning: pod/early has no controller that makes it again" in warned.stderr
    dry = called("restart", namespace, "--dry-run", *flags(installed))
    assert dry.stdout == ""


def test_restart_rolls_the_deployments_whose_pods_lack_an_identity(installed: Installation) -> None:
    name = "vkube-restart"
    installed.kubectl("create", "namespace", name)
    manifest = deployment("web", nodeSelector={"nowhere": "yes"})
    manifest["metadata"]["namespace"] = name
    manifest["spec"]["replicas"] = 1
    installed.apply(manifest)
    labels = {"app": "alone"}
    template = {**manifest["spec"]["template"], "metadata": {"labels": labels}}
    alone = {**manifest, "kind": "ReplicaSet", "metadata": {"name": "alone", "namespace": name}}
    installed.apply(
        {**alone, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}
    )

    def pods() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = installed.get("pods", "-n", name)["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    wait_for("two Pods without identity", lambda: len(pods()) == 2)
    said = vkube("restart", name, *flags(installed), ends=1)
    assert f"the namespace {name} is not labelled" in said
    installed.kubectl("label", "namespace", name, "vanadium.io/inject=enabled")
    installed.wait_until_injected(name)
    explained = called("explain", "deployment/web", "-n", name, *flags(installed))
    assert explained.code == 4
    assert (
        f"What to do:                create its Pods again (vkube restart {name}): web-" in explained.stdout
    )
    dry = vkube("restart", name, "--dry-run", *flags(installed)).splitlines()
    assert sorted(dry)[0] == "deployment/web would be restarted"
    assert sorted(dry)[1].startswith("pod/alone-")
    done = vkube("restart", name, *flags(installed)).splitlines()
    assert sorted(done)[0] == "deployment/web restarted"
    assert sorted(done)[1].endswith("evicted")

    def injected() -> bool:
        new = [one for one in pods() if one["spec"].get("initContainers")]
        return {one["metadata"]["labels"]["app"] for one in new} == {"web", "alone"}

    wait_for("Pods with the pod agent", injected, 120)
    # The webhook of these tests injects another image than its Deployment's settings name.
    replayed = called("preflight", "--upgrade", name, *flags(installed), "-o", "json")
    rows = {one["workload"]: one for one in json.loads(replayed.stdout)["items"]}
    assert (replayed.code, rows[f"{name}/replicaset/alone"]["result"]) == (0, "changed")
    assert "vanadium-pod-agent.image" in str(rows[f"{name}/deployment/web"]["changes"])
    outdated = vkube("restart", name, "--outdated", "--dry-run", *flags(installed)).splitlines()
    assert "deployment/web would be restarted" in outdated
    assert vkube("restart", name, "--dry-run", *flags(installed)).splitlines() == [
        "deployment/web would be restarted"
    ]
    installed.kubectl("delete", "namespace", name, "--wait=false")


def test_what_inject_prints_is_what_the_webhook_would_do(
    installed: Installation, reached: Cluster, namespace: str, tmp_path: Path
) -> None:
    installed.kubectl("label", "namespace", namespace, "vanadium.io/inject=enabled", "--overwrite")
    subject = pod(restricted_container(), name="compared")
    subject["metadata"]["namespace"] = namespace
    installed.kubectl("annotate", "namespace", namespace, "vanadium.io/cpu-request=77m")

    def admitted_pod() -> dict[str, Any]:
        made = reached.create(f"/api/v1/namespaces/{namespace}/pods", subject, dryRun="All")
        return made if "77m" in str(made["spec"].get("initContainers")) else {}

    admitted = wait_for("the namespace's annotation", admitted_pod)
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(subject))
    printed = yaml.safe_load(vkube("inject", "-f", tmp_path / "pod.yaml", *flags(installed)))
    (ours,), (theirs,) = printed["spec"]["initContainers"], admitted["spec"]["initContainers"]
    # The webhook of these tests has other flags than its Deployment: image and URL.
    assert [one["name"] for one in ours["env"]] == [one["name"] for one in theirs["env"]]
    for field in ("name", "resources", "volumeMounts", "securityContext", "restartPolicy"):
        assert ours[field] == theirs[field]
    # What is injected already is accepted, and not injected again.
    again = reached.create(f"/api/v1/namespaces/{namespace}/pods", printed, dryRun="All")
    assert len(again["spec"]["initContainers"]) == 1


CONTEXT = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
STRICT = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def secured(**fields: Any) -> dict[str, Any]:
    return container(securityContext={**CONTEXT, **STRICT, **fields})


def sysctl(name: str) -> dict[str, Any]:
    return {"sysctls": [{"name": name, "value": "1"}]}


PODS: dict[str, dict[str, Any]] = {
    "plain": pod(),
    "restricted": pod(restricted_container()),
    "context of the Pod": pod(container(securityContext=STRICT), securityContext=CONTEXT),
    "hostNetwork": pod(restricted_container(), hostNetwork=True),
    "hostPID": pod(restricted_container(), hostPID=True),
    "hostPath": pod(restricted_container(), volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "nfs": pod(restricted_container(), volumes=[{"name": "v", "nfs": {"server": "a", "path": "/"}}]),
    "emptyDir": pod(restricted_container(), volumes=[{"name": "v", "emptyDir": {}}]),
    "capability": pod(secured(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]})),
    "usual capability": pod(secured(capabilities={"drop": ["ALL"], "add": ["CHOWN"]})),
    "bind": pod(secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    "hostPort": pod({**secured(), "ports": [{"containerPort": 80, "hostPort": 80}]}),
    "unconfined": pod(secured(seccompProfile={"type": "Unconfined"})),
    "no seccomp": pod(container(securityContext={**STRICT, "runAsNonRoot": True})),
    "root": pod(secured(runAsUser=0)),
    "root Pod": pod(restricted_container(), securityContext={"runAsUser": 0}),
    "not non-root": pod(secured(runAsNonRoot=False)),
    "sysctl": pod(restricted_container(), securityContext=sysctl("kernel.msgmax")),
    "safe sysctl": pod(restricted_container(), securityContext=sysctl("net.ipv4.tcp_syncookies")),
    "SELinux": pod(secured(seLinuxOptions={"type": "spc_t"})),
    "SELinux level": pod(secured(seLinuxOptions={"level": "s0:c1,c2"})),
    "AppArmor": pod(secured(appArmorProfile={"type": "Unconfined"})),
    "AppArmor annotation": pod(
        restricted_container(),
        annotations={"container.apparmor.security.beta.kubernetes.io/web": "unconfined"},
    ),
    "init": pod(restricted_container(), init=[container("first")]),
    "probe": pod({**secured(), "livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}}}),
    "loopback probe": pod({**secured(), "livenessProbe": {"httpGet": {"port": 80, "host": "127.0.0.1"}}}),
}  # fmt: skip


@pytest.mark.parametrize("level", ["baseline", "restricted"])
def test_pod_security_is_judged_as_the_api_server_judges_it(
    installed: Installation, reached: Cluster, level: str
) -> None:
    name = f"vkube-{level}"
    metadata = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": level}}
    installed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    wait_for("a service account", lambda: installed.get("serviceaccounts", "-n", name)["items"])
    differing = {}
    for title, subject in PODS.items():
        try:
            reached.create(f"/api/v1/namespaces/{name}/pods", subject, dryRun="All")
            refused = ""
        except ForbiddenError as error:
            refused = str(error)
        ours = violations(subject, level)
        if bool(ours) != bool(refused):
            differing[title] = (ours, refused)
    assert differing == {}
    installed.kubectl("delete", "namespace", name, "--wait=false")
