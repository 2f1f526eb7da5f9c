"""The programs, and py-spiffe as it is: JWT-SVIDs and bundles through three rotations of their keys, each
with its overlap, and a federated trust domain that comes and goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spiffe import JwtSource, SpiffeId, TrustDomain, WorkloadApiClient
from spiffe.svid.jwt_svid import JwtSvid
from spiffe.workloadapi.errors import FetchJwtSvidError, ValidateJwtSvidError

from blessings import Authority, Name, Principal, Roots, TrustBundle
from blessings.jwt.keys import key_id_of, numbers_of
from blessings.jwt.svid import claims_of, signed
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import RunningPodAgent, eventually, mount, running_pod_agent
from tests.waiting import PATIENCE_SECONDS

# A key is published for as long as this, and two seconds, before it signs.
TTL_SECONDS = 6
WEB = "spiffe://acme/prod/shop/web/web-1"
DB = "spiffe://acme/prod/shop/db"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningClusterAgent]:
    settings = {
        "ttl_seconds": TTL_SECONDS,
        "longest_ttl_seconds": TTL_SECONDS,
        "minimum_ttl_seconds": 1,
        "root_margin_seconds": 2,
        "shortest_poll_seconds": 1,
        "rotate_jwt_key_days": 0,
        "rate_per_replica": 20,
    }
    with running_cluster_agent(tmp_path, **settings) as running:  # type: ignore[arg-type]  # none is `start`
        yield running


@pytest.fixture
def pod(agent: RunningClusterAgent, directory: Path) -> Iterator[RunningPodAgent]:
    mount(directory, agent)
    with running_pod_agent(directory, agent.url) as running:
        running.wait_until_blessed()
        yield running


def phases(agent: RunningClusterAgent, rotate: bool = False) -> dict[str, str]:
    with agent.control_plane_client() as client:
        answer = client.post("/v1/rotate-jwt-keys", json={}) if rotate else client.get("/v1/jwt-keys")
    return {one["key"]: one["phase"] for one in answer.raise_for_status().json()["keys"]}


def test_tokens_and_bundles_through_three_rotations(agent: RunningClusterAgent, pod: RunningPodAgent) -> None:
    client = WorkloadApiClient(pod.workload_socket)
    tokens: set[str] = set()
    with JwtSource(socket_path=pod.workload_socket, timeout_in_seconds=PATIENCE_SECONDS) as source:

        def used() -> None:
            """Fetched, then validated by the pod agent and by the client itself, as a server would."""
            token = source.fetch_svid({DB, "other"}).token
            bundle = source.get_bundle_for_trust_domain(TrustDomain("acme"))
            assert bundle is not None
            assert str(JwtSvid.parse_and_validate(token, bundle, {DB}).spiffe_id) == WEB
            assert client.validate_jwt_svid(token, DB).token == token
            tokens.add(token)

        for _ in range(3):
            before = phases(agent, rotate=True)
            (prepared,) = (key for key, phase in before.items() if phase == "prepared")
            ends = time.monotonic() + PATIENCE_SECONDS
            while phases(agent)[prepared] != "active":
                assert time.monotonic() < ends, agent.log()
                used()
                time.sleep(0.2)
            used()
        assert sorted(phases(agent).values()) == ["active", "retiring", "retiring", "retiring"]
        bundle = source.get_bundle_for_trust_domain(TrustDomain("acme"))
        assert bundle is not None
        assert set(bundle.jwt_authorities) == set(phases(agent))
    assert len(tokens) > 3
    with pytest.raises(ValidateJwtSvidError, match="not meant for this audience"):
        client.validate_jwt_svid(max(tokens), "another")
    with pytest.raises(FetchJwtSvidError, match="another SPIFFE ID"):
        client.fetch_jwt_svid({DB}, subject=SpiffeId("spiffe://acme/prod/shop/db/db-1"))
    client.close()


def test_the_bundle_of_another_trust_domain_comes_and_goes_by_itself(
    agent: RunningClusterAgent, pod: RunningPodAgent
) -> None:
    now, key = datetime.now(UTC), Principal.create()
    root = Authority.create_root(
        Name.parse("partner"), Principal.create(), now=now, lifetime=timedelta(days=9)
    )
    bundle = TrustBundle.of(Roots.of(root.certificate), root.name).to_value()
    jwk = {"use": "jwt-svid", "kid": key_id_of(key.public_key), **numbers_of(key.public_key)}
    partner = {"trustDomain": "partner", "bundle": {"keys": [*bundle["keys"], jwk]}}  # type: ignore[misc]
    claims = claims_of(
        Name.parse("partner:api"), [WEB], issued_at=now, expires=now + timedelta(hours=1), token_id="1"
    )
    client = WorkloadApiClient(pod.workload_socket)

    def domains() -> list[set[str]]:
        sets = (client.fetch_x509_bundles().bundles, client.fetch_jwt_bundles().bundles)
        contexts = client.fetch_x509_context().x509_bundle_set.bundles
        return [{str(one.trust_domain) for one in found} for found in (*sets, contexts)]

    with agent.control_plane_client() as administrator:
        assert domains() == [{"acme"}] * 3
        administrator.post("/v1/federate-bundle", json=partner).raise_for_status()
        eventually("the federated bundle", lambda: domains() == [{"acme", "partner"}] * 3)
        token = signed(claims, key)
        assert str(client.validate_jwt_svid(token, WEB).spiffe_id) == "spiffe://partner/api"
        # It names nobody to the agent protocol.
        assert [str(one.pattern) for one in pod.client().roots()] == ["acme"]
        administrator.post("/v1/unfederate-bundle", json={"trustDomain": "partner"}).raise_for_status()
        eventually("it is gone", lambda: domains() == [{"acme"}] * 3)
    with pytest.raises(ValidateJwtSvidError, match="neither this one nor a federated one"):
        client.validate_jwt_svid(token, WEB)
    client.close()
