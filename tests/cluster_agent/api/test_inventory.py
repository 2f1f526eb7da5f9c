"""The routes for administrators who look, on the running program and both databases."""

from __future__ import annotations

from typing import Any

import httpx
from sqlalchemy import create_engine, update

from blessings import Principal
from cluster_agent.store import tables
from cluster_agent.store.database import database_url
from tests.cluster_agents import RunningClusterAgent, pod_token
from tests.csrs import csr_of


def issued(agent: RunningClusterAgent, namespace: str, *pods: str) -> None:
    secret = agent.new_secret(namespace, "web")
    with agent.credential_client(secret["credential"]) as client:
        for pod in pods:
            token = pod_token(agent.tokens, pod, namespace=namespace)
            body = {"csr": csr_of(Principal.create()), "token": token}
            client.post("/v1/seek-blessings", json=body).raise_for_status()


def everything(client: httpx.Client, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
    """Page by page, two at a time."""
    found, after = [], None
    while True:
        asked = {**query, "limit": 2, **({"after": after} if after else {})}
        page = client.get(path, params=asked).raise_for_status().json()
        assert len(page[key]) <= 2
        found += page[key]
        after = page["following"]
        if after is None:
            return found


def test_replicas_come_in_pages_with_all_that_is_known_of_them(agent: RunningClusterAgent) -> None:
    issued(agent, "inventory", *(f"inventory-{number}" for number in range(5)))
    with agent.control_plane_client() as client:
        found = everything(client, "/v1/replicas", "replicas", namespace="inventory")
        assert [one["pod"] for one in found] == [f"inventory-{number}" for number in range(5)]
        one = found[0]
        assert one["name"] == "acme:prod:inventory:web:inventory-0"
        assert (one["podUid"], one["serviceAccount"]) == ("uid-of-inventory-0", "web")
        assert one["serial"]
        assert one["notAfter"].endswith(("Z", "+00:00"))
        by_uid = client.get("/v1/replicas", params={"podUid": one["podUid"]}).json()
        assert by_uid == {"replicas": [one], "following": None}
        assert len(everything(client, "/v1/replicas", "replicas")) >= 5


def test_a_replica_of_version_0_1_0_has_the_name_that_it_was_issued_under(agent: RunningClusterAgent) -> None:
    """Its issuer was not recorded, and no application was registered under another name."""
    issued(agent, "older", "older-0")
    url = agent.flags.get("database_url", f"sqlite:///{agent.data_directory / 'cluster-agent.sqlite3'}")
    engine = create_engine(database_url(str(url)))
    with engine.begin() as connection:
        of_it = tables.issuances.c.pod_uid == "uid-of-older-0"
        connection.execute(update(tables.issuances).where(of_it).values(issuer=None, serial=None))
    engine.dispose()
    with agent.control_plane_client() as client:
        body = {"namespace": "older", "serviceAccount": "web", "name": "acme:prod:Newer"}
        client.post("/v1/register-application", json=body).raise_for_status()
        (one,) = everything(client, "/v1/replicas", "replicas", namespace="older")
    assert (one["name"], one["serial"]) == ("acme:prod:older:web:older-0", None)


def test_revocations_are_applications_first_then_pods(agent: RunningClusterAgent) -> None:
    issued(agent, "revoked", "revoked-0", "revoked-1")
    with agent.control_plane_client() as client:
        for service_account in ("a", "b", "c"):
            application = {"namespace": "revoked", "serviceAccount": service_account}
            client.post("/v1/revoke", json={"application": application, "ahead": True}).raise_for_status()
        for number in range(2):
            client.post("/v1/revoke", json={"podUid": f"uid-of-revoked-{number}"}).raise_for_status()
        found = everything(client, "/v1/revocations", "revocations")
    ours = [one for one in found if one["namespace"] == "revoked"]
    assert [(one["kind"], one["serviceAccount"], one["pod"]) for one in ours] == [
        ("application", "a", None),
        ("application", "b", None),
        ("application", "c", None),
        ("replica", "web", "revoked-0"),
        ("replica", "web", "revoked-1"),
    ]
    assert not any(one["gone"] for one in ours)


def test_only_administrators_look(agent: RunningClusterAgent) -> None:
    with agent.control_plane_client("webhook") as keeper:
        for path in ("/v1/replicas", "/v1/revocations"):
            answer = keeper.get(path)
            assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "NotAnAdministrator")
    with agent.control_plane_client() as client:
        for query in ({"limit": 0}, {"limit": 1001}, {"after": "x y"}, {"namespace": "A_B"}):
            assert client.get("/v1/replicas", params=query).status_code == 400
        assert client.get("/v1/revocations", params={"after": "elsewhere/x"}).status_code == 400
