"""The program itself, over real TLS: who gets through the handshake, and what bad input is told."""

from __future__ import annotations

import signal
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from blessings import Authority, Blessing, Name, Principal, Roots, verify_blessing
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of


def reason(response: httpx.Response) -> str:
    answer: str = response.json()["error"]["reason"]
    return answer


def seek_body(agent: RunningClusterAgent, pod: str = "web-1", **changes: Any) -> dict[str, Any]:
    return {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, pod), **changes}


def test_health_and_roots_need_no_client_certificate(agent: RunningClusterAgent) -> None:
    with agent.client(None, None) as client:
        assert client.get("/healthz").json() == {"status": "ok", "attestor": "jwks", "root": "self-made"}
        roots = Roots.from_json(client.get("/v1/roots").json()["roots"])
    assert [str(root.pattern) for root in roots] == ["acme"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/new-secret"),
        ("POST", "/v1/forget-secret"),
        ("GET", "/v1/secrets"),
        ("POST", "/v1/seek-blessings"),
    ],
)
def test_every_other_route_demands_one(agent: RunningClusterAgent, method: str, path: str) -> None:
    bodies = {
        "/v1/new-secret": {"namespace": "shop", "serviceAccount": "web"},
        "/v1/forget-secret": {"id": "x"},
        "/v1/seek-blessings": seek_body(agent),
    }
    with agent.client(None, None) as client:
        response = client.request(method, path, json=bodies.get(path))
    assert response.status_code == 401
    assert reason(response) == "ClientCertificateRequired"


def test_a_credential_and_a_token_become_a_blessing(agent: RunningClusterAgent) -> None:
    issued = agent.new_secret()
    with agent.credential_client(issued["credential"]) as client:
        answer = client.post("/v1/seek-blessings", json=seek_body(agent)).json()
    roots = Roots.from_json(answer["roots"])
    name = verify_blessing(Blessing.from_pem(answer["chain"]), roots, now=datetime.now(UTC))
    assert str(name) == f"{issued['application']}:web-1"


def test_a_client_certificate_of_an_unknown_root_fails_the_handshake(agent: RunningClusterAgent) -> None:
    stranger = Authority.create_root(
        Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=timedelta(days=1)
    )
    principal = Principal.create()
    blessing = stranger.bless(
        principal.public_key, "web:web-1", now=datetime.now(UTC), lifetime=timedelta(hours=1)
    )
    with agent.client(principal, blessing) as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")


def test_tls_1_2_is_refused(agent: RunningClusterAgent) -> None:
    context = ssl.create_default_context(cadata=agent.server_roots.to_pem())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(base_url=agent.url, verify=context) as client, pytest.raises(httpx.ConnectError):
        client.get("/healthz")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'{"namespace": "shop"}', "serviceAccount"),
        (b'{"namespace": "Shop!", "serviceAccount": "web"}', "namespace"),
        (b'{"namespace": "a:b", "serviceAccount": "web"}', "namespace"),
        (b'{"namespace": 7, "serviceAccount": "web"}', "namespace"),
        (b'{"namespace": "shop", "serviceAccount": "web", "name": "admin"}', "name"),
        (b"[" * 30_000, "body"),
    ],
)
def test_a_malformed_body_is_told_where_it_is_wrong(
    agent: RunningClusterAgent, body: bytes, said: str
) -> None:
    with agent.control_plane_client() as client:
        response = client.post("/v1/new-secret", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert reason(response) == "MalformedRequest"
    assert said in response.json()["error"]["message"]


def test_a_refusal_does_not_repeat_the_token(agent: RunningClusterAgent) -> None:
    issued = agent.new_secret()
    token = pod_token(agent.tokens, namespace="elsewhere")
    with agent.credential_client(issued["credential"]) as client:
        answers = [
            client.post("/v1/seek-blessings", json=seek_body(agent, token=token)).text,
            client.post("/v1/seek-blessings", json=seek_body(agent, token=[token])).text,
        ]
    for text in (*answers, agent.log()):
        assert token not in text
        assert token.split(".")[2] not in text


def test_an_oversized_body_is_refused(agent: RunningClusterAgent) -> None:
    with agent.client(None, None) as client:
        response = client.post("/v1/seek-blessings", content=b"x" * 70_000)
    assert response.status_code == 413
    assert reason(response) == "BodyTooLarge"


def test_an_oversized_body_in_chunks_is_refused(agent: RunningClusterAgent) -> None:
    with agent.client(None, None) as client:
        response = client.post("/v1/seek-blessings", content=(b"x" * 1000 for _ in range(70)))
    assert response.status_code == 413


def test_a_misused_credential_is_counted(agent: RunningClusterAgent) -> None:
    issued = agent.new_secret(namespace="tripped")
    with agent.credential_client(issued["credential"]) as client:
        assert reason(client.post("/v1/seek-blessings", json=seek_body(agent))) == "TokenOfOtherNamespace"
    metrics = httpx.get(f"{agent.health_url}/metrics", follow_redirects=True).text
    tripped = 'vanadium_cluster_agent_tripwires_total{namespace="tripped",reason="TokenOfOtherNamespace"} 1.0'
    assert tripped in metrics


def test_secrets_are_listed_without_key_material(agent: RunningClusterAgent) -> None:
    issued = agent.new_secret(namespace="listed")
    with agent.control_plane_client() as client:
        listing = client.get("/v1/secrets")
        (item,) = [one for one in listing.json()["secrets"] if one["namespace"] == "listed"]
        assert item["id"] == issued["id"]
        assert "PRIVATE" not in listing.text
        assert client.post("/v1/forget-secret", json={"id": issued["id"]}).json() == {}
        assert issued["id"] not in client.get("/v1/secrets").text


def test_an_answered_secret_survives_kill_9(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as first:
        issued, forgotten = first.new_secret(), first.new_secret()
        with first.control_plane_client() as client:
            client.post("/v1/forget-secret", json={"id": forgotten["id"]}).raise_for_status()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with running_cluster_agent(tmp_path) as second:
        with second.credential_client(issued["credential"]) as client:
            assert client.post("/v1/seek-blessings", json=seek_body(second)).status_code == 200
        with second.credential_client(forgotten["credential"]) as client:
            assert reason(client.post("/v1/seek-blessings", json=seek_body(second))) == "SecretForgotten"


def test_the_key_files_are_for_their_owner_alone(agent: RunningClusterAgent) -> None:
    assert agent.keys_directory.stat().st_mode & 0o777 == 0o700
    paths = list(agent.keys_directory.glob("*.pem"))
    assert len(paths) == 3
    for path in paths:
        assert path.stat().st_mode & 0o777 == 0o600, path
