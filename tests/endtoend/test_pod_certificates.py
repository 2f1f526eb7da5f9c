"""Identity without a sidecar: requests as a kubelet makes them, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from blessings import Blessing, Name, Roots, verify_blessing
from cluster_agent.pod_requests.guard import unchanged_since
from tests.checkout import CHECKOUT
from tests.cluster_agents import RunningClusterAgent
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.pod_certificates import serial_numbers, signing_agent, wait_until_judged
from tests.kubelets import Kubelets, stub_csr
from tests.waiting import wait_for

NODE, OTHER_NODE = "volume-node", "other-volume-node"
BUNDLE = "/apis/certificates.k8s.io/v1/clustertrustbundles/vanadium.io:replica:roots"
POLICY_BINDING = (
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/vanadium-pod-certificates"
)
_numbers = count(1)


@pytest.fixture(scope="module")
def agent(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    with signing_agent(control_plane, tmp_path_factory.mktemp("signer")) as running:
        yield running


@pytest.fixture(scope="module")
def kubelets(control_plane: ControlPlane, agent: RunningClusterAgent) -> Iterator[Kubelets]:
    """With two nodes, and the labelled namespace `volumes`."""
    with Kubelets(control_plane) as one:
        one.node(NODE)
        one.node(OTHER_NODE)
        one.namespace("volumes")
        yield one
    control_plane.kubectl(
        "delete", "namespace", "volumes", "unlabelled-volumes", "--ignore-not-found", "--wait=false"
    )
    control_plane.kubectl("delete", "node", NODE, OTHER_NODE)


def new_name() -> str:
    return f"web-{next(_numbers)}"


def roots(kubelets: Kubelets) -> Roots:
    """Those that a kubelet would project."""

    def look() -> str:
        answer = kubelets.api.get(BUNDLE)
        return answer.json()["spec"]["trustBundle"] if answer.is_success else ""

    return Roots.from_pem(wait_for("the ClusterTrustBundle", look))


def test_a_pod_gets_its_name_and_a_chain_that_ends_at_the_trust_bundle(
    kubelets: Kubelets, agent: RunningClusterAgent
) -> None:
    pod, key = kubelets.pod("volumes", new_name(), node=NODE), ec.generate_private_key(ec.SECP256R1())
    status = kubelets.answered(kubelets.asked(pod, key=key))
    blessing = Blessing.from_pem(status["certificateChain"])
    now = datetime.now(UTC)
    named = verify_blessing(blessing, roots(kubelets), now=now)
    assert named == Name.parse(f"acme:prod:volumes:default:{pod['metadata']['name']}")
    assert blessing.public_key == key.public_key()
    assert blessing.is_svid
    assert timedelta(minutes=59) < blessing.not_after - now <= timedelta(hours=1)
    metrics = httpx.get(f"{agent.health_url}/metrics/").raise_for_status().text
    assert 'vanadium_cluster_agent_pod_requests_total{reason="",result="issued"}' in metrics
    # An alert compares this with the live replicas.
    name = "vanadium_cluster_agent_blessings_issued_total "
    (issued,) = [line for line in metrics.splitlines() if line.startswith(name)]
    assert float(issued.split()[1]) > 0
    refresh = datetime.fromisoformat(status["beginRefreshAt"])
    assert timedelta(minutes=28) < refresh - now < timedelta(minutes=31)


def revoke(agent: RunningClusterAgent, **what: object) -> None:
    with agent.control_plane_client() as administrator:
        administrator.post("/v1/revoke", json=what).raise_for_status()


def test_each_renewal_has_a_new_key_and_a_key_is_certified_once(kubelets: Kubelets) -> None:
    pod, key = kubelets.pod("volumes", new_name(), node=NODE), ec.generate_private_key(ec.SECP256R1())
    kubelets.answered(kubelets.asked(pod, key=key))
    assert "certificateChain" in kubelets.answered(kubelets.asked(pod))
    assert kubelets.denied(kubelets.asked(pod, key=key))[0] == "KeyReused"


def test_the_shortest_life_that_kubernetes_accepts_is_signed(kubelets: Kubelets) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    status = kubelets.answered(kubelets.asked(pod, maxExpirationSeconds=3600))
    begin, end = (datetime.fromisoformat(status[name]) for name in ("notBefore", "notAfter"))
    assert end - begin == timedelta(hours=1)


@pytest.mark.parametrize(
    "user", ["mallory", "system:node:volume-node", "system:serviceaccount:volumes:default"]
)
def test_attack_a_request_that_no_kubelet_made_is_refused_by_the_api_server(
    kubelets: Kubelets, user: str
) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    # With every right, but not in the group of the nodes.
    refused = kubelets.ask(pod, by=user)
    assert refused.status_code == 422
    assert "Only the kubelet of the node" in refused.json()["message"]


def test_attack_a_kubelet_asks_for_a_pod_elsewhere(kubelets: Kubelets) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    other = kubelets.get(f"/api/v1/nodes/{OTHER_NODE}")["metadata"]
    elsewhere = {**pod, "spec": {**pod["spec"], "nodeName": OTHER_NODE}}
    for asked in (
        kubelets.ask(elsewhere),
        kubelets.ask(elsewhere, nodeName=NODE),
        kubelets.ask(pod, nodeName=OTHER_NODE, nodeUID=other["uid"]),
    ):
        assert asked.status_code in (403, 422), asked.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unverifiedUserAnnotations": {"acme.test/name": "acme:prod:payroll"}}, "UnknownAnnotation"),
        ({"stubPKCS10Request": stub_csr(ec.generate_private_key(ec.SECP384R1()))}, "UnsupportedKeyType"),
        ({"stubPKCS10Request": stub_csr(ed25519.Ed25519PrivateKey.generate())}, "UnsupportedKeyType"),
        ({"stubPKCS10Request": stub_csr(rsa.generate_private_key(65537, 3072))}, "UnsupportedKeyType"),
    ],
    ids=["annotation", "P-384", "Ed25519", "RSA"],
)
def test_what_a_pods_author_asks_for_in_vain_is_denied_with_an_event(
    kubelets: Kubelets, changes: dict[str, Any], reason: str
) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    found, message = kubelets.denied(kubelets.asked(pod, **changes))
    assert found == reason
    assert "keyType: ECDSAP256" in message or "remove them" in message

    def told() -> list[str]:
        events = kubelets.get("/api/v1/namespaces/volumes/events")["items"]
        return [
            one["message"]
            for one in events
            if one["involvedObject"].get("uid") == pod["metadata"]["uid"]
            and one["reason"] == "CertificateDenied"
        ]

    assert wait_for("an Event", told)[0].startswith(f"{reason}: ")


def test_nobody_in_a_namespace_without_the_label_or_of_the_system_has_an_identity(kubelets: Kubelets) -> None:
    kubelets.namespace("unlabelled-volumes", labelled=False)

    def label(value: str | None) -> None:
        kubelets.api.patch(
            "/api/v1/namespaces/kube-public",
            json={"metadata": {"labels": {"vanadium.io/inject": value}}},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()

    label("enabled")
    try:
        for namespace in ("unlabelled-volumes", "kube-public"):
            pod = kubelets.pod(namespace, new_name(), node=NODE)
            assert kubelets.denied(kubelets.asked(pod))[0] == "NamespaceNotLabelled"
            kubelets.delete_pod(pod)
    finally:
        label(None)


def test_a_revoked_replicas_refresh_is_denied_and_its_certificate_on_the_list(
    kubelets: Kubelets, agent: RunningClusterAgent
) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    chain = Blessing.from_pem(kubelets.answered(kubelets.asked(pod))["certificateChain"])
    revoke(agent, podUid=pod["metadata"]["uid"])
    assert kubelets.denied(kubelets.asked(pod))[0] == "Revoked"
    assert chain.leaf.serial_number in serial_numbers(agent, "acme:prod:volumes:default")


def test_a_deleted_pods_certificate_is_on_the_list(kubelets: Kubelets, agent: RunningClusterAgent) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    chain = Blessing.from_pem(kubelets.answered(kubelets.asked(pod))["certificateChain"])
    kubelets.delete_pod(pod)
    serial = chain.leaf.serial_number
    wait_for("the revocation", lambda: serial in serial_numbers(agent, "acme:prod:volumes:default"))


def test_a_revoked_application_gets_nothing_until_it_is_reinstated(
    kubelets: Kubelets, agent: RunningClusterAgent
) -> None:
    kubelets.service_account("volumes", "revocable")
    pods = [kubelets.pod("volumes", new_name(), node=NODE, service_account="revocable") for _ in range(3)]
    chain = Blessing.from_pem(kubelets.answered(kubelets.asked(pods[0]))["certificateChain"])
    application = {"namespace": "volumes", "serviceAccount": "revocable"}
    revoke(agent, application=application)
    assert chain.leaf.serial_number in serial_numbers(agent, "acme:prod:volumes:revocable")
    assert kubelets.denied(kubelets.asked(pods[1]))[0] == "ApplicationRevoked"
    with agent.control_plane_client() as administrator:
        administrator.post("/v1/reinstate", json=application).raise_for_status()
    assert "certificateChain" in kubelets.answered(kubelets.asked(pods[2]))


def test_the_trust_bundle_is_restored_when_another_program_changes_it(kubelets: Kubelets) -> None:
    before = roots(kubelets)
    kubelets.api.delete(BUNDLE).raise_for_status()
    assert roots(kubelets) == before


@contextmanager
def unguarded(kubelets: Kubelets, agent: RunningClusterAgent, pod: dict[str, Any]) -> Iterator[None]:
    """Without the policy's binding, as the agent has noticed and the API server too."""
    binding = kubelets.get(POLICY_BINDING)
    kubelets.api.delete(POLICY_BINDING).raise_for_status()
    try:
        wait_for("the agent", lambda: "ValidatingAdmissionPolicyBinding" in agent.log())
        wait_for(
            "the API server", lambda: kubelets.ask(pod, by="mallory", signerName="acme.test/a").is_success
        )
        wait_for("the API server", lambda: kubelets.ask(pod, by="mallory", podName="nobody").is_success)
        yield
    finally:
        metadata = {"name": binding["metadata"]["name"], "labels": binding["metadata"]["labels"]}
        path = POLICY_BINDING.rpartition("/")[0]
        kubelets.make(path, {**binding, "metadata": metadata})


def test_attack_requests_made_by_hand_while_no_policy_judges_are_never_answered(
    control_plane: ControlPlane, kubelets: Kubelets, agent: RunningClusterAgent
) -> None:
    pod = kubelets.pod("volumes", new_name(), node=NODE)
    made = partial(kubelets.asked, by="mallory")
    with unguarded(kubelets, agent, pod):
        # By every check of its own the agent could sign the first; but it does not know who asks.
        attacks = [made(pod), made(pod, nodeName=OTHER_NODE), made(pod, podUID="that-of-an-earlier-pod")]
    wait_until_judged(control_plane)
    assert "certificateChain" in kubelets.answered(kubelets.asked(pod))
    told = 'vanadium_cluster_agent_pod_requests_total{reason="MadeUnguarded",result="waits"}'
    wait_for("the refusals", lambda: told in httpx.get(f"{agent.health_url}/metrics/").text)
    assert [kubelets.condition(request) for request in attacks] == [None] * len(attacks)


def test_a_change_of_the_policy_or_its_binding_is_dated_by_the_api_server(
    control_plane: ControlPlane, kubelets: Kubelets
) -> None:
    manifests = yaml.safe_load_all((CHECKOUT / "deploy/base/policy-pod-certificates.yaml").read_text())
    copies = [{**one, "metadata": {"name": "dated"}} for one in manifests]
    control_plane.kubectl.apply(*copies)
    try:
        for collection, change in (
            ("validatingadmissionpolicies", {"failurePolicy": "Ignore"}),
            ("validatingadmissionpolicybindings", {"validationActions": ["Audit"]}),
        ):
            path = f"/apis/admissionregistration.k8s.io/v1/{collection}/dated"
            made = kubelets.get(path)
            assert made["metadata"]["generation"] == 1

            def changed(path: str = path, change: dict[str, Any] = change) -> datetime:
                patched = kubelets.api.patch(
                    path,
                    json={"spec": change},
                    headers={"Content-Type": "application/merge-patch+json"},
                )
                found = patched.raise_for_status().json()
                assert found["metadata"]["generation"] > 1
                return unchanged_since(found)

            assert changed() >= unchanged_since(made)
            assert abs(datetime.now(UTC) - changed()) < timedelta(minutes=5)
            kubelets.api.patch(
                path,
                json={"metadata": {"managedFields": [{}]}},
                headers={"Content-Type": "application/merge-patch+json"},
            ).raise_for_status()
            with pytest.raises(ValueError, match="empty"):
                unchanged_since(kubelets.get(path))
    finally:
        control_plane.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "dated")
