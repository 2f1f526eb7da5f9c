"""What several tenants have of one signer, on a real API server: the steps to a first identity, answers
beside another tenant's flood, and a root that waits for volumes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from blessings import Blessing, Roots
from cluster_agent.pod_requests.trust_bundle import NAME
from tests.cluster_agents import RunningClusterAgent
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.pod_certificates import signing_agent, wait_until_judged
from tests.kubelets import REQUESTS, Kubelets
from tests.waiting import wait_for

NODE = "shared-node"
SHOP, HOSTILE = "shop-of-volumes", "hostile-to-volumes"
FLOOD = 150
_numbers = count(1)


@pytest.fixture(scope="module")
def agent(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    with signing_agent(control_plane, tmp_path_factory.mktemp("shared")) as running:
        yield running


@pytest.fixture(scope="module")
def kubelets(control_plane: ControlPlane, agent: RunningClusterAgent) -> Iterator[Kubelets]:
    with Kubelets(control_plane) as one:
        one.node(NODE)
        one.namespace(SHOP)
        one.namespace(HOSTILE)
        wait_until_judged(control_plane)
        yield one
    control_plane.kubectl("delete", "namespace", SHOP, HOSTILE, "--wait=false")
    control_plane.kubectl("delete", "node", NODE)


def new_pod(kubelets: Kubelets, namespace: str = SHOP) -> dict[str, Any]:
    return kubelets.pod(namespace, f"web-{next(_numbers)}", node=NODE)


def told(kubelets: Kubelets, pod: dict[str, Any]) -> list[str]:
    """What the Pod's Events of first identities state."""
    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/events"
    of_it = f"involvedObject.uid={pod['metadata']['uid']},reason=FirstIdentity"
    found = kubelets.api.get(path, params={"fieldSelector": of_it}).raise_for_status()
    return [one["message"] for one in found.json()["items"]]


def test_a_pods_first_certificate_has_an_event_with_its_steps_and_a_renewal_has_none(
    kubelets: Kubelets,
) -> None:
    renewing, new = new_pod(kubelets), new_pod(kubelets)
    # As the kubelet states it once the volume was there.
    state = {"running": {"startedAt": datetime.now(UTC).isoformat(timespec="seconds")}}
    container = {"name": "main", "ready": True, "restartCount": 0, "image": "", "imageID": "", "state": state}
    path = f"/api/v1/namespaces/{SHOP}/pods/{renewing['metadata']['name']}/status"
    patch = {"status": {"phase": "Running", "containerStatuses": [container]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    kubelets.api.patch(path, json=patch, headers=headers).raise_for_status()
    for pod in (renewing, new):
        kubelets.answered(kubelets.asked(pod))
    (message,) = wait_for("the Event", lambda: told(kubelets, new))
    for step in ("requested ", "answered ", "signed "):
        assert step in message
    assert told(kubelets, renewing) == []


def test_attack_a_flood_of_one_namespace_delays_no_answer_of_another(
    kubelets: Kubelets,
) -> None:
    hostile = kubelets.request(new_pod(kubelets, HOSTILE))
    # Beyond 32 live certificates of a Pod, its requests wait, and are tried again and again.
    for _ in range(FLOOD):
        kubelets.asked_again(HOSTILE, NODE, hostile)
    for _ in range(3):
        assert "certificateChain" in kubelets.answered(kubelets.asked(new_pod(kubelets)))
    found = kubelets.get(REQUESTS.format(HOSTILE))["items"]
    waiting = [one for one in found if not (one.get("status") or {}).get("conditions")]
    assert len(waiting) >= FLOOD - 32


def test_a_prepared_root_signs_nothing_before_kubelets_had_time_to_bring_it(
    agent: RunningClusterAgent, kubelets: Kubelets
) -> None:
    before = Blessing.from_pem(kubelets.answered(kubelets.asked(new_pod(kubelets)))["certificateChain"])
    with agent.control_plane_client() as administrator:
        prepared = administrator.post("/v1/identity-roots/prepare").raise_for_status().json()
        (new,) = [one for one in prepared["roots"] if one["phase"] == "prepared"]

        def described() -> dict[str, Any]:
            answer = administrator.get("/v1/identity-roots").raise_for_status().json()
            return next(one for one in answer["roots"] if one["key"] == new["key"])

        at = datetime.fromisoformat(
            wait_for("the time", lambda: str(described().get("volumesHaveItAt") or ""))
        )
        bundle = kubelets.get(f"/apis/certificates.k8s.io/v1/clustertrustbundles/{NAME}")
        assert len(Roots.from_pem(bundle["spec"]["trustBundle"])) == 2
        assert at > datetime.now(UTC) + timedelta(minutes=5)
        assert described()["volumes"] > described()["acknowledged"]
        refused = administrator.post("/v1/identity-roots/activate", json={"key": new["key"]})
        assert refused.status_code == 400, refused.text
        assert described()["phase"] == "prepared"
    after = Blessing.from_pem(kubelets.answered(kubelets.asked(new_pod(kubelets)))["certificateChain"])
    assert after.certificates[-1].issuer == before.certificates[-1].issuer
