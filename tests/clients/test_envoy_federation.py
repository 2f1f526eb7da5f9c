"""Real Envoys in two trust domains: `ALL`, and the roots of a foreign trust domain."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from blessings import Authority, Blessing, Name, Principal, Roots, TrustBundle
from blessings.profile import certificates as profile
from blessings.tls import client_context
from tests.clients.envoys import Back, Front, pod, running_back, running_front
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.waiting import wait_for

FRONT = Name.parse("globex:prod:shop:front:web-1")
LIFE = timedelta(hours=1)


@pytest.fixture(scope="module")
def globex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("globex"), name_prefix="globex:prod") as agent:
        yield agent


@pytest.fixture(scope="module")
def back(
    envoy: Path, cluster_agent: RunningClusterAgent, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Back]:
    """In acme, with the roots of all trust domains; takes calls of globex's `front`."""
    changes = {
        "name: ROOTCA": "name: ALL",
        "spiffe://acme/prod/shop/front/": "spiffe://globex/prod/shop/front/",
    }
    with running_back(envoy, cluster_agent, tmp_path_factory.mktemp("back"), changes=changes) as running:
        yield running


@pytest.fixture(scope="module")
def front(
    envoy: Path,
    cluster_agent: RunningClusterAgent,
    globex: RunningClusterAgent,
    back: Back,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Front]:
    """In globex, with the roots of acme alone."""
    federate(globex, "acme", roots_of(cluster_agent))
    changes = {"name: ROOTCA": "name: spiffe://acme"}
    directory = tmp_path_factory.mktemp("front")
    with pod(globex, "front") as agent, running_front(envoy, agent, back, directory, **changes) as running:
        yield running


def roots_of(agent: RunningClusterAgent) -> Roots:
    with agent.client(None, None) as client:
        return Roots.from_json(client.get("/v1/roots").json()["roots"])


def federate(agent: RunningClusterAgent, trust_domain: str, roots: Roots) -> None:
    bundle = TrustBundle.of(roots, Name.parse(trust_domain)).to_value()
    administrate(agent, "/v1/federate-bundle", trustDomain=trust_domain, bundle=bundle)


def administrate(agent: RunningClusterAgent, path: str, **body: object) -> None:
    with agent.control_plane_client() as administrator:
        administrator.post(path, json=body).raise_for_status()


def test_replicas_of_two_trust_domains_know_each_other_as_long_as_both_have_the_bundle(
    cluster_agent: RunningClusterAgent, globex: RunningClusterAgent, front: Front
) -> None:
    assert front.get().status_code == 503
    federate(cluster_agent, "globex", roots_of(globex))
    wait_for("the bundle at back", lambda: front.get().status_code == 200)
    assert front.get().text == FRONT.spiffe_id
    administrate(cluster_agent, "/v1/unfederate-bundle", trustDomain="globex")
    wait_for("its end", lambda: front.get().status_code == 503)


def test_attack_a_federated_root_signs_a_name_of_another_trust_domain(
    cluster_agent: RunningClusterAgent, back: Back
) -> None:
    honest, rogue = root_of("globex"), root_of("rogue")
    federate(cluster_agent, "rogue", Roots.of(rogue.certificate))
    federate(cluster_agent, "globex", Roots.of(honest.certificate))
    wait_for("the bundles at back", lambda: is_accepted(honest, back), not_yet=(OSError,))
    before = unproven_at(back)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        is_accepted(rogue, back)
    wait_for("the refusal", lambda: unproven_at(back) > before)


def root_of(trust_domain: str) -> Authority:
    name = Name.parse(trust_domain)
    return Authority.create_root(name, Principal.create(), now=datetime.now(UTC), lifetime=LIFE)


def is_accepted(root: Authority, back: Back) -> bool:
    """Whether `back` answers somebody whom the root has given the name FRONT. Raises OSError."""
    key, now = Principal.create(), datetime.now(UTC)
    leaf = profile.build_leaf_certificate(
        FRONT,
        key.public_key,
        issuer=root.certificate,
        issuer_key=root.principal.signing_key,
        not_before=now - timedelta(minutes=1),
        not_after=now + LIFE / 2,
        dns_names=(),
        usages=(profile.CLIENT,),
    )
    context = client_context(key, Blessing((leaf,)), back.agent.client().roots())
    connection = HTTPSConnection("127.0.0.1", back.port, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read() == FRONT.spiffe_id.encode()
    finally:
        connection.close()


def unproven_at(back: Back) -> int:
    return sum(back.envoy.counters(r"^listener\..*\.ssl\.fail_verify_error$").values())
