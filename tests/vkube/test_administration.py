"""The administrative commands, as a person runs them, against the real cluster agent."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from blessings import Blessing, Name, Principal, Roots, verify_blessing
from blessings.directory import DirectoryPrincipal
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration
from tests.claims import CODE
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.vkube.command import PLAIN, called, vkube


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningClusterAgent]:
    (tmp_path / "code").write_text(CODE + "\n")
    with running_cluster_agent(tmp_path, claim="required", claim_code_file=tmp_path / "code") as running:
        yield running


def flags(agent: RunningClusterAgent, credentials: Path) -> list[object]:
    ca_file = credentials.parent / "serving" / "ca.crt"
    return ["--cluster-agent", agent.url, "--credentials", credentials, "--ca", ca_file]


def claim_flags(agent: RunningClusterAgent, credentials: Path) -> list[object]:
    code_file = credentials.parent / "code"
    return [*flags(agent, credentials), "--name-prefix", "acme:prod", "--code-file", code_file]


def test_a_principal_is_made_and_shown(tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("correct horse\n")
    sealed = ["--passphrase-file", tmp_path / "passphrase"]
    assert "made the root acme" in vkube("principal", "create", tmp_path / "root", "acme", *sealed)
    shown = vkube("principal", "dump", tmp_path / "root", *sealed)
    assert "DEFAULT:   acme until" in shown
    assert "ROOT:      acme " in shown
    assert "is not empty" in vkube("principal", "create", PLAIN, tmp_path / "root", ends=1)
    vkube("principal", "create", PLAIN, tmp_path / "plain")
    assert "DEFAULT:   none" in vkube("principal", "dump", tmp_path / "plain")
    assert "must be lower case" in vkube("principal", "create", PLAIN, tmp_path / "upper", "Acme", ends=1)


def test_attack_an_impostor_without_tls_gets_neither_claim_code_nor_grant(tmp_path: Path) -> None:
    """`--ca` would be of no use: no command sends a credential over http://."""
    vkube("principal", "create", PLAIN, tmp_path / "root", "acme")
    (tmp_path / "code").write_text(CODE)
    (tmp_path / "ca.crt").write_text(DirectoryPrincipal.open(tmp_path / "root").roots.to_pem())
    asked: list[str] = []

    class Impostor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        do_POST = do_GET  # noqa: N815 - as the server calls it

    server = HTTPServer(("127.0.0.1", 0), Impostor)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    common = [
        "--cluster-agent",
        f"http://127.0.0.1:{server.server_port}",
        "--credentials",
        tmp_path / "root",
        "--ca",
        tmp_path / "ca.crt",
    ]
    claiming = ["--name-prefix", "acme:prod", "--code-file", tmp_path / "code"]
    try:
        for command in (
            ["claim-cluster-agent", *common, *claiming],
            ["register", "shop", "web", "acme:web", *common],
            ["unregister", "shop", "web", *common],
            ["applications", *common],
        ):
            assert "expected https://<host>:<port>" in vkube(*command, ends=2)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert asked == []


def test_a_claimed_agent_names_replicas_under_the_administrators_root(
    agent: RunningClusterAgent, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    vkube("principal", "create", PLAIN, root, "acme")
    assert "names what is under acme:prod" in vkube("claim-cluster-agent", *claim_flags(agent, root))
    assert httpx.get(agent.health_url + "/readyz").status_code == 200
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
        answer = client.post("/v1/seek-blessings", json=body).json()
    roots: Roots = DirectoryPrincipal.open(root).roots
    name = verify_blessing(Blessing.from_pem(answer["chain"]), roots, now=datetime.now(UTC))
    assert str(name) == "acme:prod:shop:web:web-1"
    again = vkube("claim-cluster-agent", *claim_flags(agent, root), ends=1)
    assert "was claimed by the root acme with the key" in again


def test_a_delegation_that_ends_with_the_root_says_that_it_is_shorter_than_asked(
    agent: RunningClusterAgent, tmp_path: Path
) -> None:
    vkube("principal", "create", PLAIN, tmp_path / "root", "acme", "--days", 5)
    said = called("claim-cluster-agent", *claim_flags(agent, tmp_path / "root")).stderr
    assert "shorter than the 1825 days asked for, because the root's certificate ends then" in said


def test_what_is_wrong_with_a_claim_is_said(agent: RunningClusterAgent, tmp_path: Path) -> None:
    root, other, plain = tmp_path / "root", tmp_path / "other", tmp_path / "plain"
    vkube("principal", "create", PLAIN, root, "acme")
    vkube("principal", "create", PLAIN, other, "other")
    vkube("principal", "create", PLAIN, plain)
    (tmp_path / "code").write_text("x" * 32)
    for credentials, said in (
        (other, "the prefix acme:prod is not under the root other"),
        (plain, "these credentials have no blessing"),
        (tmp_path / "none", "is not a principal's directory"),
    ):
        assert said in vkube("claim-cluster-agent", *claim_flags(agent, credentials), ends=1)
    wrong_ca = [*claim_flags(agent, root), "--ca", tmp_path / "code"]
    assert "--ca" in vkube("claim-cluster-agent", *wrong_ca, ends=1)
    wrong_server = [*claim_flags(agent, root), "--server-name", "another.svc"]
    assert "certificate is not the cluster agent's: Hostname mismatch" in vkube(
        "claim-cluster-agent", *wrong_server, ends=1
    )
    assert httpx.get(agent.health_url + "/readyz").status_code == 503


def test_a_registered_name_that_would_be_refused_now_is_marked(
    agent: RunningClusterAgent, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    vkube("principal", "create", PLAIN, root, "acme")
    vkube("claim-cluster-agent", *claim_flags(agent, root))
    vkube("register", "shop", "good", "acme:prod:Good", *flags(agent, root))
    issuing = Principal.from_pem((agent.data_directory / "issuing.pem").read_bytes())
    # As an older version let it in.
    old = Registration(Application("shop", "web"), Name.parse("acme:prod:shop"), None, None)
    values = {**asdict(old.row(issuing, datetime.now(UTC))), "registered_at": 0}
    with closing(sqlite3.connect(agent.data_directory / "cluster-agent.sqlite3")) as database, database:
        columns, places = ", ".join(values), ", ".join(f":{one}" for one in values)
        database.execute(f"INSERT INTO applications ({columns}) VALUES ({places})", values)  # noqa: S608
    listed = vkube("applications", *flags(agent, root)).splitlines()
    assert "shop/good  acme:prod:Good" in listed
    (marked,) = [one for one in listed if "REFUSED NOW" in one]
    assert marked.startswith(
        "shop/web  acme:prod:shop  REFUSED NOW: acme:prod:shop is the name of a namespace"
    )


def test_applications_are_registered_listed_and_removed(agent: RunningClusterAgent, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    vkube("principal", "create", PLAIN, root, "acme")
    vkube("claim-cluster-agent", *claim_flags(agent, root))
    said = vkube("register", "shop", "web", "acme:fortuned", "--ttl", "600", *flags(agent, root))
    assert "shop/web is acme:fortuned, by a grant of acme's, until" in said
    said = vkube("register", "shop", "api", "acme:prod:Api", *flags(agent, root))
    assert "by a grant of the agent's own, below acme:prod" in said
    listed = vkube("applications", *flags(agent, root))
    assert "shop/api  acme:prod:Api\n" in listed
    assert "shop/web  acme:fortuned  ttl 600 s  granted until" in listed
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
        answer = client.post("/v1/seek-blessings", json=body).json()
    blessing = Blessing.from_pem(answer["chain"])
    name = verify_blessing(blessing, DirectoryPrincipal.open(root).roots, now=datetime.now(UTC))
    assert str(name) == "acme:fortuned:web-1"

    for arguments, said in (
        (("shop", "x", "other:x"), "other:x is below neither acme:prod nor acme"),
        (("shop", "x", "acme:prod:shop:web"), "is the name of namespace shop, service account web"),
        (
            ("shop", "x", "acme:prod:x"),
            "acme:prod:x is the name of a namespace; choose one that no namespace",
        ),
        (("shop", "x", "acme:administrator"), "which administers this cluster agent"),
        (("shop", "x", "acme:prod:Api"), "another application is registered as acme:prod:Api"),
        (("shop", "x", "a b"), "NAME: "),
    ):
        assert said in vkube("register", *arguments, *flags(agent, root), ends=1)
    # A root of the same name, but another key, does not get through the handshake.
    vkube("principal", "create", PLAIN, other, "acme")
    said = vkube("applications", *flags(agent, other), ends=1)
    assert "the server does not recognise your root: acme:administrator is under the key" in said
    assert "this cluster agent recognises acme " in said
    assert "Server disconnected" not in said

    dns = ("--dns-name", "api.shop.svc", "--dns-name", "api.example")
    said = vkube("register", "shop", "api", "acme:prod:Api", *dns, *flags(agent, root))
    assert "its certificates have api.shop.svc, api.example from their next renewal" in said
    assert "shop/api  acme:prod:Api  DNS api.shop.svc,api.example\n" in vkube(
        "applications", *flags(agent, root)
    )
    said = vkube("register", "shop", "web", "acme:fortuned", *dns[:2], *flags(agent, root), ends=1)
    assert "api.shop.svc is a DNS name of shop/api" in said
    vkube("register", "shop", "web", "acme:fortuned", *dns[:2], "--share-dns-names", *flags(agent, root))
    vkube("register", "shop", "api", "acme:prod:Api", "--no-dns-names", *flags(agent, root))
    assert "shop/api  acme:prod:Api\n" in vkube("applications", *flags(agent, root))

    assert "shop/web: unregistered" in vkube("unregister", "shop", "web", *flags(agent, root))
    assert "shop/web: was not registered" in vkube("unregister", "shop", "web", *flags(agent, root))
    assert "acme:fortuned" not in vkube("applications", *flags(agent, root))
