"""The attack suite: the program over real TLS, on both stores, against attackers who hold stolen credentials.

After every attack there is as much issued as before it, by the store and by the metrics, and a record of it
in the audit. Attacks on single checks, with a clock, are in test_issuing.py; those that need an API server,
such as the token of a deleted pod under TokenReview, in tests/endtoend.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, func, select

from blessings import Authority, Blessing, Name, Principal
from cluster_agent.signing.key_files import make_signing_room
from cluster_agent.store import tables
from cluster_agent.store.audit_reading import reading_audit
from cluster_agent.store.database import database_url
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.waiting import wait_for

SEEK = "/v1/seek-blessings"


@dataclass
class Replica:
    """A client with these: a real pod of shop/web, or an attacker who stole them from it."""

    secret: dict[str, Any]
    principal: Principal
    blessing: Blessing


@pytest.fixture
def replica(agent: RunningClusterAgent) -> Replica:
    secret, principal = agent.new_secret(), Principal.create()
    body = {"csr": csr_of(principal), "token": pod_token(agent.tokens, "victim")}
    with agent.credential_client(secret["credential"]) as client:
        response = client.post(SEEK, json=body)
    assert response.status_code == 200, response.text
    return Replica(secret, principal, Blessing.from_pem(response.json()["chain"]))


def store_of(agent: RunningClusterAgent) -> str:
    return str(agent.flags.get("database_url", f"sqlite:///{agent.data_directory / 'cluster-agent.sqlite3'}"))


def issued(agent: RunningClusterAgent) -> tuple[int, float]:
    """By the store, and by the metrics."""
    engine = create_engine(database_url(store_of(agent)))
    with engine.connect() as connection:
        stored: int = connection.execute(select(func.count()).select_from(tables.issuances)).scalar_one()
    engine.dispose()
    metrics = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    (counted,) = [
        line.split()[1]
        for line in metrics.splitlines()
        if line.startswith("vanadium_cluster_agent_blessings_issued_total ")
    ]
    return stored, float(counted)


def recorded(agent: RunningClusterAgent, reason: str) -> int:
    """How often the audit says that this was refused."""
    with reading_audit(store_of(agent)) as audit:
        texts = [one.text for base in audit.bases() for one in audit.records_of(base.chain)]
    said = [json.loads(text) for text in texts]
    return sum(one["count"] for one in said if one["act"] == "refused" and one["reason"] == reason)


@contextmanager
def nothing_is_issued(agent: RunningClusterAgent, reason: str) -> Iterator[None]:
    """Around an attack, which must be refused for `reason`."""
    before, told = issued(agent), recorded(agent, reason)
    yield
    assert issued(agent) == before
    wait_for(f"an audit record of {reason}", lambda: recorded(agent, reason) > told)


def attack(agent: RunningClusterAgent, client: httpx.Client, reason: str, **body: Any) -> None:
    """Asks for a blessing for a new key; in `body` is what differs from a pod's own request."""
    asked = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, "victim"), **body}
    with nothing_is_issued(agent, reason), client:
        response = client.post(SEEK, json=asked)
        assert response.json()["error"]["reason"] == reason


def future_token(agent: RunningClusterAgent, seconds: float) -> str:
    """As the API server would sign it if its clock were ahead."""
    now = agent.tokens._now
    agent.tokens._now = lambda: datetime.now(UTC) + timedelta(seconds=seconds)
    try:
        return pod_token(agent.tokens, "victim")
    finally:
        agent.tokens._now = now


def forged_csr() -> str:
    """For a key that its signer does not have."""
    request = x509.load_pem_x509_csr(csr_of(Principal.create()).encode())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()


def test_a_stolen_secret_without_a_token(agent: RunningClusterAgent, replica: Replica) -> None:
    attack(agent, agent.credential_client(replica.secret["credential"]), "TokenMissing", token="")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"namespace": "evil"}, "TokenOfOtherNamespace"),
        ({"service_account": "evil"}, "TokenOfOtherServiceAccount"),
        ({"audience": "https://kubernetes.default.svc"}, "TokenOfOtherAudience"),
        ({"lifetime": timedelta(seconds=-120)}, "TokenExpired"),
        ({"pod_uid": ""}, "TokenNotBoundToPod"),
    ],
)
def test_a_stolen_secret_with_another_token(
    agent: RunningClusterAgent, replica: Replica, claims: dict[str, Any], reason: str
) -> None:
    client = agent.credential_client(replica.secret["credential"])
    attack(agent, client, reason, token=pod_token(agent.tokens, **claims))


def test_a_token_from_two_minutes_ahead(agent: RunningClusterAgent, replica: Replica) -> None:
    client = agent.credential_client(replica.secret["credential"])
    attack(agent, client, "TokenNotYetValid", token=future_token(agent, 120))


def test_a_forged_certificate_request(agent: RunningClusterAgent, replica: Replica) -> None:
    client = agent.credential_client(replica.secret["credential"])
    attack(agent, client, "CsrSignatureInvalid", csr=forged_csr())


@pytest.mark.parametrize("claims", [{"pod": "web-2"}, {"pod": "victim", "pod_uid": "its-successor"}])
def test_a_stolen_replica_key_with_the_token_of_another_pod(
    agent: RunningClusterAgent, replica: Replica, claims: dict[str, str]
) -> None:
    client = agent.client(replica.principal, replica.blessing)
    attack(agent, client, "TokenOfOtherPod", token=pod_token(agent.tokens, **claims))


def test_what_was_stolen_before_its_secret_was_forgotten(
    agent: RunningClusterAgent, replica: Replica
) -> None:
    with agent.control_plane_client() as administrator:
        administrator.post("/v1/forget-secret", json={"id": replica.secret["id"]}).raise_for_status()
    attack(agent, agent.credential_client(replica.secret["credential"]), "SecretForgotten")
    attack(agent, agent.client(replica.principal, replica.blessing), "SecretForgotten")


def test_the_token_and_the_certificate_of_a_pod_that_was_revoked(agent: RunningClusterAgent) -> None:
    secret, principal = agent.new_secret(), Principal.create()
    token = pod_token(agent.tokens, "gone")
    with agent.credential_client(secret["credential"]) as client:
        answer = client.post(SEEK, json={"csr": csr_of(principal), "token": token}).json()
    with agent.control_plane_client() as administrator:
        administrator.post("/v1/revoke", json={"podUid": "uid-of-gone"}).raise_for_status()
    old = Blessing.from_pem(answer["chain"])
    attack(agent, agent.credential_client(secret["credential"]), "Revoked", token=token)
    attack(agent, agent.client(principal, old), "Revoked", token=token)


def test_a_replica_that_administers(agent: RunningClusterAgent, replica: Replica) -> None:
    with (
        nothing_is_issued(agent, "NotAnAdministrator"),
        agent.client(replica.principal, replica.blessing) as client,
    ):
        body = {"namespace": "kube-system", "serviceAccount": "admin"}
        assert client.post("/v1/new-secret", json=body).status_code == 403


def test_a_name_outside_of_the_grant_by_a_root_of_that_name(agent: RunningClusterAgent) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=hour)
    principal = Principal.create()
    blessing = root.bless(principal.public_key, "prod:shop:web:web-1", now=now, lifetime=hour)
    body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
    with (
        nothing_is_issued(agent, "HandshakeRefused"),
        agent.client(principal, blessing) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.post(SEEK, json=body)


def test_an_administrator_whose_certificate_has_ended(agent: RunningClusterAgent) -> None:
    principal = Principal.create()
    blessing = agent.control_plane.bless(
        principal.public_key, "webhook", now=datetime.now(UTC), lifetime=timedelta(seconds=1)
    )
    while datetime.now(UTC) <= blessing.not_after + timedelta(seconds=1):
        time.sleep(0.1)
    with (
        nothing_is_issued(agent, "HandshakeRefused"),
        agent.client(principal, blessing) as client,
        pytest.raises(httpx.TransportError),
    ):
        client.post("/v1/new-secret", json={"namespace": "shop", "serviceAccount": "web"})


def test_an_issuer_that_has_expired_signs_nothing(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=30)
    expired = Authority.create_root(
        Name.parse("acme"), Principal.create(), now=long_ago, lifetime=timedelta(days=29)
    )
    keys = tmp_path / "data"
    make_signing_room(keys, Name.parse("acme"), now=datetime.now(UTC))
    (keys / "cluster-agent.sqlite3").touch()  # keys without a store are refused
    (keys / "root.pem").write_text(expired.principal.to_pem().decode() + expired.blessing.to_pem())
    with running_cluster_agent(tmp_path) as agent:
        secret = agent.new_secret()
        attack(agent, agent.credential_client(secret["credential"]), "IssuerEnding")


def test_attack_the_refused_choose_neither_labels_of_metrics_nor_paths_of_records(tmp_path: Path) -> None:
    """Otherwise a client without a certificate could fill the memory with invented paths."""
    with running_cluster_agent(tmp_path, rate_per_address=0.25) as agent:
        with agent.client(None, None) as client:
            assert client.get("/v1/crl/chosen-1").status_code == 404
            assert client.get("/v1/crl/chosen-2?key=x").status_code == 400
            assert client.post("/chosen-3", content=b"x" * 70_000).status_code == 413
            assert client.get("/chosen-4").status_code == 404
            assert client.delete("/v1/crl/chosen-5").status_code == 405
            assert 429 in [client.get(f"/v1/crl/chosen-{number}").status_code for number in range(6, 50)]
        metrics = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    for path, reason in (
        ("/v1/crl/{issuer}", "UnknownIssuer"),
        ("/v1/crl/{issuer}", "TooManyRequests"),
        ("other", "BodyTooLarge"),
        ("other", "NotServed"),
    ):
        assert f'path="{path}",reason="{reason}"' in metrics
        assert recorded(agent, reason)
    assert "chosen" not in metrics
    with reading_audit(store_of(agent)) as audit:
        texts = [one.text for base in audit.bases() for one in audit.records_of(base.chain)]
    refused = [one for one in map(json.loads, texts) if one["act"] == "refused"]
    assert {one["path"] for one in refused} == {"/v1/crl/{issuer}", "other"}
