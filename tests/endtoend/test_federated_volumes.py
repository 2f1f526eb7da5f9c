"""Federated trust domains for Pods with volumes: the ClusterTrustBundles that a cluster agent keeps for them,
on a real API server with the rights of its manifests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from blessings import Authority, Name, Principal, Roots, TrustBundle
from cluster_agent.kubernetes.trust_bundles import bundle
from tests.blessings.test_bundles import foreign_root
from tests.cluster_agents import RunningClusterAgent
from tests.controlplane.control_plane import ControlPlane
from tests.endtoend.pod_certificates import signing_agent
from tests.kubelets import Kubelets, as_user
from tests.waiting import wait_for

BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"
OWN = "vanadium.io:replica:roots"
AGENT = as_user("system:serviceaccount:vanadium-system:cluster-agent", "system:serviceaccounts")
OF_OTHERS = "roots-of-others"


@pytest.fixture(scope="module")
def agent(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningClusterAgent]:
    with signing_agent(control_plane, tmp_path_factory.mktemp("federating")) as running:
        yield running


@pytest.fixture
def kubelets(control_plane: ControlPlane, agent: RunningClusterAgent) -> Iterator[Kubelets]:
    """With a ClusterTrustBundle of another program, which has no signer."""
    with Kubelets(control_plane) as one:
        made = bundle(OF_OTHERS, [root_of("others").certificate])
        del made["spec"]["signerName"]
        one.make(BUNDLES, made)
        yield one
        one.api.delete(f"{BUNDLES}/{OF_OTHERS}").raise_for_status()


def root_of(name: str) -> Authority:
    day = timedelta(days=1)
    return Authority.create_root(Name.parse(name), Principal.create(), now=datetime.now(UTC), lifetime=day)


def administrate(agent: RunningClusterAgent, path: str, **body: object) -> None:
    with agent.control_plane_client() as administrator:
        administrator.post(path, json=body).raise_for_status()


def kept(kubelets: Kubelets) -> dict[str, str]:
    """The signer's bundles, but for that of the identity roots."""
    found = kubelets.get(f"{BUNDLES}?fieldSelector=spec.signerName%3Dvanadium.io/replica")["items"]
    named = {one["metadata"]["name"]: one["spec"]["trustBundle"] for one in found}
    assert named.pop(OWN)
    return named


def test_each_federated_trust_domain_has_a_bundle_of_its_own_from_its_addition_to_its_removal(
    agent: RunningClusterAgent, kubelets: Kubelets
) -> None:
    wait_for("the identity roots", lambda: kubelets.api.get(f"{BUNDLES}/{OWN}").is_success)
    assert kept(kubelets) == {}
    partner, other = root_of("partner.example"), foreign_root(Principal.create())
    name = Name.parse("partner.example")
    twice = TrustBundle(name, (partner.certificate, partner.certificate)).to_value()
    # Kubernetes accepts no such name for an object; the rest must not wait for it.
    odd = TrustBundle.of(Roots.of(root_of("odd_one").certificate), Name.parse("odd_one")).to_value()
    for domain, value in (
        ("partner.example", twice),
        ("odd_one", odd),
        ("partner", TrustBundle(Name.parse("partner"), (other,)).to_value()),
    ):
        administrate(agent, "/v1/federate-bundle", trustDomain=domain, bundle=value)
    prefix = "vanadium.io:replica:federated-"
    expected = {
        f"{prefix}partner.example": Roots.of(partner.certificate).to_pem(),
        f"{prefix}partner": TrustBundle(Name.parse("partner"), (other,)).roots.to_pem(),
    }
    wait_for("the bundles", lambda: kept(kubelets) == expected)
    assert "odd_one" in agent.log()

    # Another program changes one, and adds one.
    found = kubelets.get(f"{BUNDLES}/{prefix}partner")
    found["spec"]["trustBundle"] = Roots.of(root_of("rogue").certificate).to_pem()
    kubelets.api.put(f"{BUNDLES}/{prefix}partner", json=found).raise_for_status()
    kubelets.make(BUNDLES, bundle(f"{prefix}rogue", [root_of("rogue").certificate]))
    wait_for("the bundles again", lambda: kept(kubelets) == expected)

    # Kubernetes reads no certificate with such a URI. The roots before it are not kept in its place.
    unreadable = foreign_root(Principal.create(), uri="spiffe://partner/%zz")
    value = TrustBundle(Name.parse("partner"), (unreadable,)).to_value()
    administrate(agent, "/v1/federate-bundle", trustDomain="partner", bundle=value)
    del expected[f"{prefix}partner"]
    wait_for("the end of the roots before", lambda: kept(kubelets) == expected)

    administrate(agent, "/v1/unfederate-bundle", trustDomain="partner.example")
    del expected[f"{prefix}partner.example"]
    wait_for("its end", lambda: kept(kubelets) == expected)
    assert kubelets.get(f"{BUNDLES}/{OF_OTHERS}")


def test_attack_the_cluster_agents_rights_reach_no_bundle_of_another_program(
    agent: RunningClusterAgent, kubelets: Kubelets
) -> None:
    path = f"{BUNDLES}/{OF_OTHERS}"
    found = kubelets.get(path)
    found["spec"]["trustBundle"] = Roots.of(root_of("rogue").certificate).to_pem()
    new = bundle("rogue", [root_of("rogue").certificate])
    del new["spec"]["signerName"]
    signed = bundle("example.com:own:roots", [root_of("rogue").certificate])
    signed["spec"]["signerName"] = "example.com/own"
    attacks = (
        lambda: kubelets.api.put(f"{path}?dryRun=All", json=found, headers=AGENT),
        lambda: kubelets.api.delete(f"{path}?dryRun=All", headers=AGENT),
        lambda: kubelets.api.post(f"{BUNDLES}?dryRun=All", json=new, headers=AGENT),
    )
    # A policy takes a moment to be in force after it was applied.
    for attack in attacks:
        wait_for("a refusal", lambda attack=attack: "nothing else" in attack().text)  # type: ignore[misc]
    # Kubernetes' own admission comes first.
    refused = kubelets.api.post(f"{BUNDLES}?dryRun=All", json=signed, headers=AGENT).text
    assert "not permitted to attest" in refused
