"""The programs, and py-spiffe as it is: JWT-SVIDs and bundles through three rotations of their keys, each
with its overlap, and a federated trust domain that comes and goes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spiffe import JwtSource, SpiffeId, TrustDomain, WorkloadApiClient
from spiffe.bundle.jwt_bundle.jwt_bundle import JwtBundle
from spiffe.svid.jwt_svid import JwtSvid
from spiffe.workloadapi.errors import FetchJwtSvidError, ValidateJwtSvidError

from blessings import Authority, Name, Principal, Roots, TrustBundle
from blessings.jwt.encoding import from_base64url, json_object
from blessings.jwt.keys import key_id_of, numbers_of
from blessings.jwt.svid import claims_of, signed
from cluster_agent.jwt.key_keeper import KIND
from cluster_agent.jwt.rotation import JwtKeySuccession
from cluster_agent.roots.rotation import Phase
from cluster_agent.signing.key_files import ISSUING
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store.documents import SignedDocument
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import RunningPodAgent, eventually, mount, running_pod_agent
from tests.waiting import PATIENCE_SECONDS

WEB = "spiffe://acme/prod/shop/web/web-1"
DB = "spiffe://acme/prod/shop/db"
STATES = SignedStates("JWT keys", JwtKeySuccession.from_json)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningClusterAgent]:
    settings = {
        # A twelfth of it passes before a step that is due, and after half of it without a look at the store
        # no token is signed.
        "root_margin_seconds": 36,
        "shortest_poll_seconds": 1,
        "rotate_jwt_key_days": 0,
        "jwt_ttl_seconds": 3600,
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


def let_two_days_pass(agent: RunningClusterAgent) -> None:
    """For the key that is prepared: it has been published for so long."""
    issuing = Principal.from_pem((agent.keys_directory / ISSUING).read_bytes())
    path = agent.data_directory / "cluster-agent.sqlite3"
    with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)) as store:
        store.execute("BEGIN IMMEDIATE")
        columns = "SELECT version, document, signature FROM documents WHERE name = ?"
        state = STATES.opened(SignedDocument(*store.execute(columns, (KIND,)).fetchone()), issuing)
        keys = (
            replace(one, since=one.since - timedelta(days=2)) if one.phase is Phase.PREPARED else one
            for one in state.keys
        )
        later = STATES.signed(replace(state, keys=tuple(keys)), issuing)
        changed = (later.document, later.signature, KIND)
        store.execute("UPDATE documents SET document = ?, signature = ? WHERE name = ?", changed)
        store.execute("COMMIT")


def test_tokens_and_bundles_through_three_rotations(agent: RunningClusterAgent, pod: RunningPodAgent) -> None:
    client = WorkloadApiClient(pod.workload_socket)
    tokens: list[str] = []
    with JwtSource(socket_path=pod.workload_socket, timeout_in_seconds=PATIENCE_SECONDS) as source:

        def bundle() -> JwtBundle:
            found = source.get_bundle_for_trust_domain(TrustDomain("acme"))
            assert found is not None
            return found

        def key_of_a_new_token() -> str:
            """All tokens are validated by the pod agent and by the client itself, as a server would."""
            tokens.append(source.fetch_svid({DB, f"other-{len(tokens)}"}).token)
            for token in tokens:
                assert str(JwtSvid.parse_and_validate(token, bundle(), {DB}).spiffe_id) == WEB
                assert client.validate_jwt_svid(token, DB).token == token
            return str(json_object(from_base64url(tokens[-1].split(".")[0]))["kid"])

        for _ in range(3):
            before = phases(agent, rotate=True)
            (active,) = (key for key, phase in before.items() if phase == "active")
            (prepared,) = (key for key, phase in before.items() if phase == "prepared")
            eventually("the key in the bundle", lambda key=prepared: key in bundle().jwt_authorities)  # type: ignore[misc]
            assert key_of_a_new_token() == active
            let_two_days_pass(agent)
            eventually("its turn", lambda key=prepared: phases(agent)[key] == "active")  # type: ignore[misc]
            assert key_of_a_new_token() == prepared
        assert sorted(phases(agent).values()) == ["active", "retiring", "retiring", "retiring"]
        assert set(bundle().jwt_authorities) == set(phases(agent))
    with pytest.raises(ValidateJwtSvidError, match="not meant for this audience"):
        client.validate_jwt_svid(tokens[-1], "another")
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
