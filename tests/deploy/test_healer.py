"""The healer, with the rights of deploy/components/healer, on a real API server and its controllers."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.checkout import CHECKOUT
from tests.cluster_agents import free_port
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.installation import SYSTEM, lead_to_loopback, token_of
from tests.endtoend.program import program
from tests.kubectl import is_ready
from tests.pods import container, pod
from tests.waiting import wait_for
from webhook.identity import has_identity
from webhook.pod import Pod

NAMESPACES = [f"healed-{number}" for number in range(5)]
DEPLOYMENTS, REPLICAS = ("web", "api"), 50
ALL = len(NAMESPACES) * len(DEPLOYMENTS) * REPLICAS
HEALER = [
    ("clusterrole", "vanadium-webhook-healer"),
    ("clusterrolebinding", "vanadium-webhook-healer"),
    ("clusterrole", "vanadium-webhook-survey"),
    ("clusterrolebinding", "vanadium-webhook-survey"),
    ("validatingadmissionpolicy", "vanadium-healer-evictions"),
    ("validatingadmissionpolicybinding", "vanadium-healer-evictions"),
]


class Pods:
    """The Pods of the namespaces, which become ready as if there were a node."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._ended = threading.Event()
        self.seen: list[dict[str, Any]] = []
        """As they were last read while they become ready."""
        self.least_ready: dict[str, int] = {}
        """By owner, once all of its Pods were ready."""

    def get(self) -> list[dict[str, Any]]:
        found = []
        for name in NAMESPACES:
            found += self._client.get(f"/api/v1/namespaces/{name}/pods").raise_for_status().json()["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    @contextmanager
    def becoming_ready(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.3):
            pods = self.get()
            self.seen = pods
            ready = Counter(_owner(one) for one in pods if is_ready(one))
            for owner, count in ready.items():
                if count == REPLICAS or owner in self.least_ready:
                    self.least_ready[owner] = min(count, self.least_ready.get(owner, REPLICAS))
            unready = [one["metadata"] for one in pods if not is_ready(one)]
            with ThreadPoolExecutor(4) as workers:
                list(workers.map(self._make_ready, unready))

    def _make_ready(self, metadata: dict[str, Any]) -> None:
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        # It may have been evicted meanwhile.
        self._client.patch(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status",
            content=json.dumps({"status": status}),
            headers={"Content-Type": "application/strategic-merge-patch+json"},
        )


def _is_injected(raw: dict[str, Any]) -> bool:
    return has_identity(Pod(raw))


def _owner(one: dict[str, Any]) -> str:
    metadata = one["metadata"]
    return f"{metadata['namespace']}/{metadata['ownerReferences'][0]['name']}"


@pytest.fixture(scope="module")
def healing(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the component applied, and labelled namespaces."""
    # kustomize takes no absolute paths.
    directory = tmp_path_factory.mktemp("overlay")
    deploy = os.path.relpath(CHECKOUT / "deploy", directory)
    (directory / "kustomization.yaml").write_text(
        f"resources: [{deploy}]\ncomponents: [{deploy}/components/healer]\n"
    )
    control_plane.kubectl("apply", "-k", str(directory))
    control_plane.kubectl("scale", "deployment", "--all", "--replicas=0", "-n", SYSTEM)
    labels = {"vanadium.io/inject": "enabled"}
    control_plane.kubectl.apply(
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            for name in NAMESPACES
        )
    )
    yield control_plane
    control_plane.kubectl("delete", "namespace", *NAMESPACES, "--wait=false")
    for kind, name in HEALER:
        control_plane.kubectl("delete", kind, name)
    control_plane.kubectl("delete", "role,rolebinding", "webhook-healer", "-n", SYSTEM)
    # As other tests expect it.
    control_plane.kubectl("delete", "service,deployment", "webhook", "-n", SYSTEM)
    control_plane.kubectl("delete", "mutatingwebhookconfiguration", "vanadium-webhook")
    control_plane.kubectl("apply", "-k", "deploy")


@pytest.fixture
def client(healing: ControlPlane) -> Iterator[httpx.Client]:
    with healing.http_client() as made:
        yield made


def test_all_webhooks_killed_during_five_hundred_creations_leave_no_bare_pod(
    healing: ControlPlane, client: httpx.Client, tmp_path: Path
) -> None:
    port, pods = free_port(), Pods(client)
    lead_to_loopback(healing, port)
    flags = {
        "kubeconfig": healing.kubeconfig_for(token_of(healing, "webhook"), "webhook"),
        "host": "127.0.0.1",
        "port": port,
        "pod_agent_image": "vanadium/pod-agent",
    }

    def made() -> Any:
        return client.post(f"/api/v1/namespaces/{NAMESPACES[0]}/pods?dryRun=All", json=pod()).json()

    def story() -> str:
        return f"{made()}\n{(tmp_path / 'webhook.log').read_text()[-3000:]}"

    with program("webhook", tmp_path, **flags) as webhook:
        wait_for("the webhook", lambda: made()["kind"] == "Pod" and _is_injected(made()), story=story)
        first, second = NAMESPACES[:3], NAMESPACES[3:]
        healing.kubectl.apply(*(_deployment(name, one) for name in first for one in DEPLOYMENTS))
        wait_for("the first Pods", pods.get)
        webhook.kill()
        healing.kubectl.apply(*(_deployment(name, one) for name in second for one in DEPLOYMENTS))
        wait_for("all Pods", lambda: len(pods.get()) == ALL)
    assert len(_bare(pods.get())) >= len(second) * len(DEPLOYMENTS) * REPLICAS

    with pods.becoming_ready():
        wait_for("Pods that are ready", lambda: len(pods.least_ready) == len(NAMESPACES) * len(DEPLOYMENTS))
        with program("webhook", tmp_path, **flags, heal="on", heal_per_minute=6000):
            wait_for("no bare Pod", lambda: len(pods.seen) == ALL and not _bare(pods.seen), 300, story)
            events = wait_for("Events", lambda: _events(healing))
    assert {one["involvedObject"]["kind"] for one in events} == {"ReplicaSet"}
    # A quarter of an owner's Pods at most is away at a time.
    assert min(pods.least_ready.values()) >= REPLICAS - REPLICAS // 4


def _bare(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in pods if not _is_injected(one)]


def _events(control_plane: ControlPlane) -> list[dict[str, Any]]:
    found = control_plane.kubectl.get("events", "-A", "--field-selector=reason=PodHealed")
    items: list[dict[str, Any]] = found["items"]
    return items


def _deployment(namespace: str, name: str) -> dict[str, Any]:
    """Of Pods that no node takes."""
    labels = {"app": name}
    spec = {"containers": [container()], "nodeSelector": {"nowhere": "yes"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def test_attack_the_webhooks_right_to_evict_ends_at_the_labelled_namespaces(
    healing: ControlPlane, client: httpx.Client
) -> None:
    token = token_of(healing, "webhook")

    def refusal(namespace: str) -> str:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "any"}}
        path = f"/api/v1/namespaces/{namespace}/pods/any/eviction"
        return client.post(path, json=body, headers={"Authorization": f"Bearer {token}"}).text

    client.post("/api/v1/namespaces/default/pods", json=pod(name="any", nodeSelector={"nowhere": "yes"}))
    assert "only where the namespace has the label" in wait_for(
        "the policy", lambda: text if "vanadium-healer" in (text := refusal("default")) else ""
    )
    assert 'pods \\"any\\" not found' in refusal(NAMESPACES[0])
    client.delete("/api/v1/namespaces/default/pods/any")
