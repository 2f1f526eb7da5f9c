"""An administrator blesses a second one, offline, who then administers the real cluster agent over mutual
TLS; who is blessed for something else does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from blessings import Authority, Blessing, Expiry, Principal, fingerprint
from blessings.directory import DirectoryPrincipal
from tests.claims import CODE
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.vkube.command import PLAIN, called, vkube
from tests.vkube.test_administration import claim_flags, flags
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delegation")


@pytest.fixture(scope="module")
def agent(directory: Path) -> Iterator[RunningClusterAgent]:
    """Claimed by `directory`/root."""
    (directory / "code").write_text(CODE + "\n")
    with running_cluster_agent(directory, claim="required", claim_code_file=directory / "code") as running:
        principal("create", PLAIN, directory / "root", "acme")
        vkube("claim-cluster-agent", *claim_flags(running, directory / "root"))
        yield running


def principal(*arguments: object, ends: int = 0) -> str:
    """What `vkube principal` prints, or complains of."""
    return vkube("principal", *arguments, ends=ends)


def blessed(directory: Path, name: str, extension: str, *options: object) -> Path:
    """A new principal with a blessing by the root, made as two people would."""
    second = directory / name
    principal("create", PLAIN, second)
    (directory / f"{name}.pub").write_text(principal("public-key", second))
    blessing = principal("bless", directory / "root", directory / f"{name}.pub", extension, *options)
    (directory / f"{name}.pem").write_text(blessing)
    principal("set-default", second, directory / f"{name}.pem")
    return second


def as_tls_client(
    agent: RunningClusterAgent, directory: Path, blessing: Blessing | None = None
) -> httpx.Client:
    """Without the checks that `vkube` makes before it connects."""
    held = DirectoryPrincipal.open(directory)
    return agent.client(held.principal, blessing or held.blessings.default)


def test_a_second_administrator_registers_and_revokes(agent: RunningClusterAgent, directory: Path) -> None:
    alice = blessed(directory, "alice", "administrator:alice", "--days", 1)
    shown = principal("dump", alice)
    assert "DEFAULT:   acme:administrator:alice until" in shown
    said = vkube("register", "shop", "web", "acme:prod:Fortuned", *flags(agent, alice))
    assert "by a grant of the agent's own, below acme:prod" in said
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
        client.post("/v1/seek-blessings", json=body).raise_for_status()
        with as_tls_client(agent, alice) as administrator:
            revoked = administrator.post("/v1/revoke", json={"podUid": "uid-of-web-1"}).raise_for_status()
        assert revoked.json()["certificates"] == 1
        body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
        assert client.post("/v1/seek-blessings", json=body).status_code == 403
    assert "acme:administrator:alice" in agent.log()
    assert "these credentials can grant nothing" in vkube(
        "register", "shop", "api", "acme:elsewhere", *flags(agent, alice), ends=1
    )


def test_the_key_never_leaves_the_second_administrators_directory(
    agent: RunningClusterAgent, directory: Path
) -> None:
    dora = blessed(directory, "dora", "administrator:dora")
    text = (directory / "dora.pub").read_text() + (directory / "dora.pem").read_text()
    assert "PRIVATE" not in text
    other = directory / "other"
    principal("create", PLAIN, other)
    said = principal("set-default", other, directory / "dora.pem", ends=1)
    assert "belongs to another key" in said
    assert DirectoryPrincipal.open(dora).blessings.default is not None


def test_attack_a_blessing_outside_of_the_access_list(agent: RunningClusterAgent, directory: Path) -> None:
    bob = blessed(directory, "bob", "intern:bob")
    said = vkube("register", "shop", "web", "acme:prod:Bobs", *flags(agent, bob), ends=1)
    assert "acme:intern:bob is not in the administrators' access list" in said
    with as_tls_client(agent, bob) as client:
        answer = client.post("/v1/revoke", json={"podUid": "uid-of-web-1"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "NotAnAdministrator")


def test_attack_a_blessing_that_has_expired(agent: RunningClusterAgent, directory: Path) -> None:
    root = DirectoryPrincipal.open(directory / "root")
    assert root.blessings.default is not None
    carol = blessed(directory, "carol", "administrator:carol")
    key = DirectoryPrincipal.open(carol).principal.public_key
    # The root is some seconds old, and a minute backdated.
    past = root.blessings.default.not_before + timedelta(seconds=1)
    authority = Authority(root.principal, root.blessings.default)
    ended = authority.bless(key, "administrator:carol", now=past, lifetime=timedelta(seconds=1))
    assert ended.not_after < datetime.now(UTC)
    assert refused_at_the_handshake(agent, as_tls_client(agent, carol, ended))
    (directory / "ended.pem").write_text(ended.to_pem())
    assert "expired at" in principal("set-default", carol, directory / "ended.pem", ends=1)
    held = DirectoryPrincipal.open(carol)
    held.set_blessings(held.blessings.with_default(ended))
    assert "expired at" in vkube("applications", *flags(agent, carol), ends=1)


@pytest.mark.parametrize("caveat", [("--expires", "2100-01-01"), ("--method", "GET")])
def test_attack_a_blessing_with_a_caveat_that_a_tls_server_cannot_judge(
    agent: RunningClusterAgent, directory: Path, caveat: tuple[str, str]
) -> None:
    erin = blessed(directory, "erin" + caveat[0], "administrator:erin", *caveat)
    assert refused_at_the_handshake(agent, as_tls_client(agent, erin))
    said = vkube("applications", *flags(agent, erin), ends=1)
    assert "acme:administrator:erin has caveats or is a delegate's, so no TLS server accepts it" in said


def test_attack_a_second_administrator_delegates_to_a_third(
    agent: RunningClusterAgent, directory: Path
) -> None:
    """The third's name matches the access list; but by a delegate nobody is a client of TLS servers."""
    frank = blessed(directory, "frank", "administrator:frank")
    third = directory / "third"
    principal("create", PLAIN, third)
    (directory / "third.pub").write_text(principal("public-key", third))
    (directory / "third.pem").write_text(principal("bless", frank, directory / "third.pub", "third"))
    principal("set-default", third, directory / "third.pem")
    assert "DEFAULT:   acme:administrator:frank:third until" in principal("dump", third)
    assert refused_at_the_handshake(agent, as_tls_client(agent, third))


def test_what_is_wrong_with_a_blessing_is_said(agent: RunningClusterAgent, directory: Path) -> None:
    principal("create", PLAIN, directory / "gina")
    key = directory / "gina.pub"
    key.write_text(principal("public-key", directory / "gina"))
    gina = DirectoryPrincipal.open(directory / "gina")
    root = directory / "root"
    (directory / "no.pub").write_text("no key")
    for arguments, said in (
        ((root, directory / "no.pub", "administrator:x"), "no.pub: this is not a public key"),
        ((root, directory / "none.pub", "administrator:x"), "none.pub: "),
        ((root, key, "a b"), "cannot bless: "),
        ((root, key, "x", "--days", "0"), "--days: at least 0.000020"),
        ((root, key, "x", "--method", "a b"), "--method: a method is"),
        ((directory / "gina", key, "x"), "these credentials have no blessing"),
    ):
        assert said in principal("bless", *arguments, ends=1)
    assert fingerprint(gina.public_key) in principal("dump", directory / "gina")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--days", "0.0000001"), "--days: at least 0.000020 and at most 3650, got 1e-07"),
        (("--expires", "2001-01-01"), "--expires: 2001-01-01T00:00:00+00:00 is not after now"),
    ],
)
def test_a_blessing_that_would_be_dead_is_not_made(
    tmp_path: Path, options: tuple[str, str], said: str
) -> None:
    principal("create", PLAIN, tmp_path / "root", "acme")
    principal("create", PLAIN, tmp_path / "hana")
    (tmp_path / "hana.pub").write_text(principal("public-key", tmp_path / "hana"))
    printed = principal("bless", tmp_path / "root", tmp_path / "hana.pub", "hana", *options, ends=1)
    assert said in printed
    assert "BEGIN CERTIFICATE" not in printed


def test_an_expiry_with_an_offset_is_that_instant(tmp_path: Path) -> None:
    principal("create", PLAIN, tmp_path / "root", "acme")
    principal("create", PLAIN, tmp_path / "jane")
    (tmp_path / "jane.pub").write_text(principal("public-key", tmp_path / "jane"))

    def expiry(time: str) -> datetime:
        blessed = principal("bless", tmp_path / "root", tmp_path / "jane.pub", "jane", "--expires", time)
        (caveat,) = Blessing.from_pem(blessed).facts(0).caveats
        assert isinstance(caveat, Expiry)
        return caveat.at

    assert expiry("2100-01-01T10:00:00+02:00") == datetime(2100, 1, 1, 8, tzinfo=UTC)
    assert expiry("2100-01-01T10:00:00") == datetime(2100, 1, 1, 10, tzinfo=UTC)


def test_a_blessing_that_ends_with_who_blesses_says_that_it_is_shorter_than_asked(tmp_path: Path) -> None:
    principal("create", PLAIN, tmp_path / "root", "acme", "--days", 5)
    principal("create", PLAIN, tmp_path / "ivan")
    (tmp_path / "ivan.pub").write_text(principal("public-key", tmp_path / "ivan"))

    def bless(days: int) -> tuple[Blessing, str]:
        command = ("principal", "bless", tmp_path / "root", tmp_path / "ivan.pub", "ivan", "--days", days)
        ended = called(*command)
        assert ended.code == 0, ended.output
        return Blessing.from_pem(ended.stdout), ended.stderr

    shortened, said = bless(365)
    root = DirectoryPrincipal.open(tmp_path / "root").blessings.default
    assert root is not None
    assert shortened.not_after == root.not_after
    assert "shorter than the 365 days asked for, because the blessing in" in said
    assert "shorter" not in bless(1)[1]


def refused_at_the_handshake(agent: RunningClusterAgent, client: httpx.Client) -> bool:
    """In TLS 1.3 a client learns of it only by the end of the connection; the agent counts it, maybe a moment
    later."""
    before = handshakes_refused(agent)
    with client, pytest.raises(httpx.TransportError):
        client.get("/v1/applications")
    wait_for("it is counted", lambda: handshakes_refused(agent) > before)
    return handshakes_refused(agent) == before + 1


def handshakes_refused(agent: RunningClusterAgent) -> float:
    text = httpx.get(agent.health_url + "/metrics/").text
    (value,) = re.findall(r'refusals_total{path="handshake",reason="HandshakeRefused"} (.*)', text) or ["0"]
    return float(value)
