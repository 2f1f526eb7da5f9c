"""The program: two replicas of the agent on one PostgreSQL, and OIDC discovery, to a verifier that is as
independent as a cloud provider: it knows the issuer's address and nothing else."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from blessings import Blessing, Principal
from tests.cluster_agents import (
    RunningClusterAgent,
    another_replica,
    free_port,
    pod_token,
    running_cluster_agent,
)
from tests.csrs import csr_of
from tests.waiting import wait_for

CLOUD = "https://iam.googleapis.test/projects/1/locations/global/workloadIdentityPools/p/providers/v"


@dataclass
class Verifier:
    """What AWS, Google Cloud and Azure do: discovery, then the key set, then the token (PyJWT)."""

    issuer: str
    context: ssl.SSLContext

    def configuration(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get(f"{self.issuer}/.well-known/openid-configuration"))
        assert found["issuer"] == self.issuer
        return found

    def get(self, url: str) -> bytes:
        return httpx.get(url, verify=self.context).raise_for_status().content

    def verify(self, token: str, audience: str) -> dict[str, Any]:
        configuration = self.configuration()
        algorithms = configuration["id_token_signing_alg_values_supported"]
        client = jwt.PyJWKClient(configuration["jwks_uri"], ssl_context=self.context)
        key = client.get_signing_key_from_jwt(token).key
        require = ["exp", "iat", "sub", "aud", "iss"]
        decoded: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=audience,
            issuer=self.issuer,
            options={"require": require},
            leeway=60,
        )
        return decoded


@dataclass
class Both:
    """Two replicas of the agent, and a client with the certificate of a replica."""

    first: RunningClusterAgent
    second: RunningClusterAgent
    principal: Principal
    blessing: Blessing
    verifier: Verifier

    def svid(self, agent: RunningClusterAgent, *audiences: str) -> httpx.Response:
        body = {"audiences": list(audiences), "token": pod_token(self.first.tokens)}
        with agent.client(self.principal, self.blessing) as client:
            return client.post("/v1/jwt-svid", json=body)


@pytest.fixture(scope="module")
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    directory, port = tmp_path_factory.mktemp("agent"), free_port()
    issuer = f"https://localhost:{port}/clusters/prod"
    database = request.getfixturevalue("postgresql").new_database()
    settings = {
        "database_url": database,
        "oidc_issuer": issuer,
        "oidc_port": port,
        "oidc_certificate_directory": directory / "serving",
        "root_margin_seconds": 12,
        # One replica asks again and again.
        "rate_per_replica": 1000,
    }
    with running_cluster_agent(directory, **settings) as first:
        first.flags["oidc_port"] = free_port()
        with another_replica(first, tmp_path_factory.mktemp("other")) as second:
            first.flags["oidc_port"] = port
            context = ssl.create_default_context(cadata=first.server_roots.to_pem())
            principal = Principal.create()
            body = {"csr": csr_of(principal), "token": pod_token(first.tokens)}
            with first.credential_client(first.new_secret()["credential"]) as client:
                chain = client.post("/v1/seek-blessings", json=body).raise_for_status().json()["chain"]
            yield Both(first, second, principal, Blessing.from_pem(chain), Verifier(issuer, context))


def test_a_cloud_provider_verifies_what_either_replica_of_the_agent_signed(both: Both) -> None:
    for agent in (both.first, both.second):
        answer = both.svid(agent, CLOUD)
        assert answer.status_code == 200, answer.text
        claims = both.verifier.verify(answer.json()["svid"], CLOUD)
        assert claims["sub"] == "spiffe://acme/prod/shop/web/web-1"
        assert 0 < claims["exp"] - claims["iat"] <= 300


def test_attack_a_cloud_provider_refuses_a_token_for_another(both: Both) -> None:
    token = both.svid(both.first, "db").json()["svid"]
    with pytest.raises(jwt.InvalidAudienceError):
        both.verifier.verify(token, CLOUD)


def test_attack_a_name_or_a_claim_in_the_request_is_refused(both: Both) -> None:
    body: dict[str, Any] = {"audiences": ["db"], "token": pod_token(both.first.tokens)}
    with both.first.client(both.principal, both.blessing) as client:
        for more in ("spiffeId", "sub", "iss", "exp", "ttlSeconds"):
            answer = client.post("/v1/jwt-svid", json={**body, more: "spiffe://acme/prod/shop/db/db-1"})
            assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "MalformedRequest"), more
        for audiences in ([], [""], ["x"] * 9, ["x" * 2049], ["a b"], ["a\n"], "db", [7]):
            answer = client.post("/v1/jwt-svid", json={**body, "audiences": audiences})
            assert answer.status_code == 400, audiences


def test_the_key_set_is_the_same_everywhere_and_read_only_when_it_changed(both: Both) -> None:
    with both.first.client(None, None) as one, both.second.client(None, None) as two:
        first, second = one.get("/v1/jwks"), two.get("/v1/jwks")
        assert first.json() == second.json()
        assert first.headers["etag"] == second.headers["etag"]
        again = two.get("/v1/jwks", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    (key,) = first.json()["keys"]
    assert (key["use"], key["kty"], key["alg"], "d" in key) == ("jwt-svid", "EC", "ES256", False)


def test_keys_that_have_leaked_are_replaced_at_once_everywhere(both: Both) -> None:
    old = both.svid(both.second, CLOUD).json()["svid"]
    with both.first.control_plane_client() as administrator:
        answer = administrator.post("/v1/rotate-jwt-keys", json={"atOnce": True}).raise_for_status().json()
    (only,) = answer["keys"]

    def second_signs_with_it() -> bool:
        token = both.svid(both.second, CLOUD).json()["svid"]
        return bool(jwt.get_unverified_header(token)["kid"] == only["key"])

    wait_for("the other replica signs with the new key", second_signs_with_it)
    both.verifier.verify(both.svid(both.second, CLOUD).json()["svid"], CLOUD)
    with pytest.raises(jwt.PyJWKClientError):
        both.verifier.verify(old, CLOUD)


def test_the_public_port_serves_two_documents_and_nothing_else(both: Both) -> None:
    issuer, host = both.verifier.issuer, both.verifier.issuer.removesuffix("/clusters/prod")
    assert both.verifier.configuration()["jwks_uri"] == f"{issuer}/keys"
    with httpx.Client(verify=both.verifier.context) as client:
        for path in ("/", "/v1/jwks", "/v1/roots", "/healthz", "/metrics", "/keys", "/clusters/prod/keys/"):
            assert client.get(f"{host}{path}").status_code == 404, path
        assert client.post(f"{issuer}/keys").status_code == 405
        keys = client.get(f"{issuer}/keys")
        assert keys.headers["cache-control"] == "public, max-age=300"
        tagged = client.get(f"{issuer}/keys", headers={"if-none-match": keys.headers["etag"]})
        assert tagged.status_code == 304


def test_issued_and_refused_ones_are_counted(both: Both) -> None:
    both.svid(both.first, "db")
    text = httpx.get(f"{both.first.health_url}/metrics", follow_redirects=True).text
    issued = next(
        line for line in text.splitlines() if line.startswith("vanadium_cluster_agent_jwt_svids_issued_total")
    )
    assert float(issued.split()[1]) >= 1
    assert 'queue="jwt-svids"' in text


def test_by_default_there_is_no_public_port(tmp_path: Path) -> None:
    port = free_port()
    with running_cluster_agent(tmp_path, oidc_port=port), pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration")


def test_behind_an_ingress_it_is_plain(tmp_path: Path) -> None:
    port = free_port()
    settings: dict[str, Any] = {"oidc_port": port, "oidc_issuer": "https://oidc.example.test"}
    with running_cluster_agent(tmp_path, **settings):
        answer = httpx.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration")
    assert answer.json()["jwks_uri"] == "https://oidc.example.test/keys"
