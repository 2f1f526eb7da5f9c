"""Identity without a sidecar when what vouches for a Pod changes, or ends, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blessings import Blessing, InvalidRevocationList
from tests.cluster_agents import RunningClusterAgent
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.pod_certificates import serial_numbers, signing_agent
from tests.kubelets import Kubelets
from tests.waiting import wait_for

NODE, NAMESPACE = "changing-node", "changing"


@pytest.fixture(scope="module")
def agent(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    with signing_agent(control_plane, tmp_path_factory.mktemp("changes")) as running:
        yield running


@pytest.fixture(scope="module")
def kubelets(control_plane: ControlPlane, agent: RunningClusterAgent) -> Iterator[Kubelets]:
    with Kubelets(control_plane) as one:
        one.node(NODE)
        one.namespace(NAMESPACE)
        yield one
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    control_plane.kubectl("delete", "node", NODE)


def patch(kubelets: Kubelets, path: str, change: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/merge-patch+json"}
    patched: dict[str, Any] = kubelets.api.patch(path, json=change, headers=headers).raise_for_status().json()
    return patched


def path_of(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def test_a_pod_of_a_service_account_that_was_made_anew_a_moment_ago_is_not_denied(kubelets: Kubelets) -> None:
    kubelets.service_account(NAMESPACE, "again")
    earlier = kubelets.pod(NAMESPACE, "earlier", node=NODE, service_account="again")
    assert "certificateChain" in kubelets.answered(kubelets.asked(earlier))
    kubelets.api.delete(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/again").raise_for_status()
    kubelets.service_account(NAMESPACE, "again")
    pod = kubelets.pod(NAMESPACE, "later", node=NODE, service_account="again")
    # NodeRestriction refuses it until the API server has learnt of the new account.
    wait_for("the API server", lambda: kubelets.ask(pod).is_success)
    assert "certificateChain" in kubelets.answered(kubelets.asked(pod))


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_gets_no_further_certificate(kubelets: Kubelets, phase: str) -> None:
    """A kubelet renews for a Job's Pod until that is deleted, which may be never."""
    pod = kubelets.pod(NAMESPACE, f"ended-{phase.lower()}", node=NODE)
    assert "certificateChain" in kubelets.answered(kubelets.asked(pod))
    patch(kubelets, f"{path_of(pod)}/status", {"status": {"phase": phase}})
    assert kubelets.denied(kubelets.asked(pod))[0] == "PodEnded"


def test_attack_the_kubelet_of_a_lost_node_does_not_confirm_that_a_deleted_pod_has_ended(
    kubelets: Kubelets,
) -> None:
    """Its successor may run elsewhere, while the API server keeps the object for as long as it waits."""
    pod = kubelets.pod(NAMESPACE, "held", node=NODE)
    # The control plane has no kubelet, which would confirm it.
    kubelets.api.delete(path_of(pod), params={"gracePeriodSeconds": "1"}).raise_for_status()
    end = datetime.fromisoformat(kubelets.get(path_of(pod))["metadata"]["deletionTimestamp"])
    assert "certificateChain" in kubelets.answered(kubelets.asked(pod))
    # As long as the API server accepts that Pod's tokens.
    wait_for("the end of the Pod", lambda: datetime.now(UTC) > end + timedelta(seconds=61))
    assert kubelets.denied(kubelets.asked(pod))[0] == "PodEnded"
    kubelets.delete_pod(pod)


@pytest.mark.parametrize("change", ["label removed", "service account deleted"])
def test_certificates_are_revoked_when_nothing_entitles_to_them_any_longer(
    kubelets: Kubelets, agent: RunningClusterAgent, change: str
) -> None:
    namespace = kubelets.namespace(f"changing-{change.partition(' ')[0]}")
    kubelets.service_account(namespace, "web")
    try:
        pod = kubelets.pod(namespace, "web-1", node=NODE, service_account="web")
        chain = Blessing.from_pem(kubelets.answered(kubelets.asked(pod))["certificateChain"])
        if change == "label removed":
            unlabelled = {"metadata": {"labels": {"vanadium.io/inject": None}}}
            patch(kubelets, f"/api/v1/namespaces/{namespace}", unlabelled)
        else:
            kubelets.api.delete(f"/api/v1/namespaces/{namespace}/serviceaccounts/web").raise_for_status()
        serial, application = chain.leaf.serial_number, f"acme:prod:{namespace}:web"
        wait_for(
            "the revocation",
            lambda: serial in serial_numbers(agent, application),
            not_yet=(InvalidRevocationList,),  # the application is new
        )
    finally:
        kubelets.control_plane.kubectl("delete", "namespace", namespace, "--wait=false")
