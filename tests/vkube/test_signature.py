"""`vkube signature` with real TLS servers, one of them the cluster agent."""

from __future__ import annotations

import json
import runpy
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from blessings import Authority, Name, Principal, Roots
from blessings.tls import server_context
from tests.checkout import CHECKOUT
from tests.cluster_agents import running_cluster_agent
from tests.vkube.command import PLAIN, called, vkube
from tests.vkube.tls_servers import listening
from tests.waiting import wait_for
from vkube.command_line.exit_codes import ExitCode
from vkube.interface import calls, title
from vkube.output.table import table

HOUR = timedelta(hours=1)
FORTUNE: dict[str, Any] = runpy.run_path(str(CHECKOUT / "examples/fortune/fortune/interface.py"))["INTERFACE"]


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.create_root(Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=HOUR)


@pytest.fixture
def ca(root: Authority, tmp_path: Path) -> Path:
    file = tmp_path / "ca.crt"
    file.write_text(Roots.of(root.certificate).to_pem())
    return file


def serving(root: Authority, client_certificate: ssl.VerifyMode = ssl.CERT_OPTIONAL) -> ssl.SSLContext:
    principal = Principal.create()
    blessing = root.bless(principal.public_key, "shop:fortune", now=datetime.now(UTC), lifetime=HOUR)
    roots = Roots.of(root.certificate)
    return server_context(principal, blessing, roots, client_certificate=client_certificate)


def answer(content: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content


FORTUNES_TABLE = """\
CALL        TAKES             RETURNS   MEANING
POST /Add   fortune: string   nothing   Adds a fortune to the set used by Get
POST /Get   nothing           string    Returns a random fortune
POST /Has   fortune: string   boolean   Returns whether or not a fortune exists
"""


def test_what_a_server_offers_is_a_table_and_who_it_is_a_note(root: Authority, ca: Path) -> None:
    with listening(serving(root), answer(json.dumps(FORTUNE).encode())) as address:
        ended = called("signature", address, "--ca", ca)
        assert (ended.code, ended.stdout) == (0, FORTUNES_TABLE)
        first, second = ended.stderr.splitlines()
        assert first == f"{address} is acme:shop:fortune"
        assert second.startswith("Fortune 1: The interface to a fortune-telling service.")
        assert json.loads(vkube("signature", address, "--ca", ca, "-o", "json")) == FORTUNE
        assert yaml.safe_load(vkube("signature", address, "--ca", ca, "-o", "yaml")) == FORTUNE
        names = vkube("signature", address, "--ca", ca, "-o", "name")
        assert names == "call/POST/Add\ncall/POST/Get\ncall/POST/Has\n"
        assert " Add         200,400,403,413\n" in vkube("signature", address, "--ca", ca, "-o", "wide")


def test_a_server_whose_name_is_not_valid_is_shown_with_a_warning(root: Authority, tmp_path: Path) -> None:
    vkube("principal", "create", PLAIN, tmp_path / "mine")
    with listening(serving(root), answer(json.dumps(FORTUNE).encode())) as address:
        nobody = called("signature", address)
        assert (nobody.code, nobody.stdout) == (4, FORTUNES_TABLE)
        assert f"warning: {address} proves no name (no root is recognised: name --ca" in nobody.stderr
        (tmp_path / "other.crt").write_text(
            Roots.of(
                Authority.create_root(
                    Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=HOUR
                ).certificate
            ).to_pem()
        )
        impostor = called("signature", address, "--ca", tmp_path / "other.crt")
        assert impostor.code == 4
        assert f"warning: {address} proves no name (acme:shop:fortune: " in impostor.stderr


def test_the_cluster_agent_shows_its_interface_with_and_without_credentials(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        address = agent.url.removeprefix("https://")
        ca = ["--ca", tmp_path / "serving" / "ca.crt", "--timeout", 60]
        nobody = called("signature", address, *ca)
        assert nobody.code == 0, nobody.output
        assert "Vanadium cluster agent 1: Names replicas" in nobody.stderr
        assert "\nGET /v1/replicas " in nobody.stdout
        assert "after?: string, limit?: integer" in nobody.stdout
        vkube("principal", "create", PLAIN, tmp_path / "stranger", "other")
        stranger = called("signature", address, *ca, "--credentials", tmp_path / "stranger")
        assert stranger.code == 1
        assert "it ended the connection after the handshake (" in stranger.stderr
        assert "does not accept your certificate, look at --credentials, or leave them out" in stranger.stderr


def test_a_server_that_shows_no_interface_is_told_as_such(root: Authority, ca: Path) -> None:
    for sent, why in (
        (answer(b"", "404 Not Found"), "its answer to GET /openapi.json is 404"),
        (answer(b"[1]"), "what it serves at /openapi.json is no OpenAPI document"),
        (answer(b"[" * 100_000), "what it serves at /openapi.json is no OpenAPI document"),
        (answer(b'{"paths": {}}'), "what it serves at /openapi.json is no OpenAPI document"),
        (b"220 mail.example ESMTP\r\n", "it does not answer GET /openapi.json"),
        (b"", "it ended the connection after the handshake (it states no reason)"),
    ):
        with listening(serving(root), sent) as address:
            assert f"{address} shows no interface: {why}" in vkube("signature", address, "--ca", ca, ends=1)


def test_a_server_that_demands_a_certificate_is_told_as_such(root: Authority, ca: Path) -> None:
    with listening(serving(root, ssl.CERT_REQUIRED)) as address:
        said = vkube("signature", address, "--ca", ca, ends=1)
    # The reason may get lost: the system drops what it has when the server closes with unread data.
    assert "after the handshake (" in said
    assert "If it demands a certificate, name --credentials" in said


def test_attack_a_server_that_never_answers_does_not_hold_the_command(root: Authority, ca: Path) -> None:
    with listening(serving(root), None) as address:

        def is_told() -> bool:
            """Not where the handshake, too, took so long."""
            ended = called("signature", address, "--ca", ca, "--timeout", 1)
            assert ended.code == ExitCode.UNREACHABLE
            return "did not answer GET /openapi.json within 1 s" in ended.stderr

        wait_for("it is told", is_told)


def test_attack_what_a_server_writes_does_not_reach_the_terminal_as_an_escape_sequence() -> None:
    described: dict[str, Any] = {
        "info": {"title": "a\x1b[2J", "version": ["x"]},
        "paths": {
            "/\x1b]0;owned\x07": {"get": {"summary": 5, "parameters": [1, {"name": "a", "schema": 7}]}},
            "/b": {"get": "no operation", "post": {"responses": [], "requestBody": {"content": {"a/b": 1}}}},
            "/c": 3,
        },
    }
    found = calls(described)
    assert [(one["takes"], one["returns"]) for one in found] == [("a?: any", "nothing"), ("a/b", "nothing")]
    assert "\x1b" not in table(["CALL"], [[one["call"]] for one in found])
    assert title({"info": []}) == "without a title"
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(50):
        deep = {"type": "array", "items": deep}
    body = {"content": {"application/json": {"schema": deep}}}
    (one,) = calls({"paths": {"/d": {"post": {"requestBody": body}}}})
    assert one["takes"].endswith("list of …")
