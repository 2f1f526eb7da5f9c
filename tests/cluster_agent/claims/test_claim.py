"""Claiming a cluster agent: once, by who knows the code, with a chain of which everything holds. Real stores,
certificates and tokens under the test's clock; the program over TLS at the end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from sqlalchemy import update

from blessings import (
    Authority,
    Blessing,
    Expiry,
    Name,
    Principal,
    PublicKey,
    Roots,
    fingerprint,
    verify_blessing,
)
from blessings.encoding.chains import to_pem
from blessings.keys import check_public_key
from cluster_agent.claims import claim
from cluster_agent.errors import Conflict, Forbidden, Refusal, StoreError, Unavailable
from cluster_agent.model import Application
from cluster_agent.signing.room import IdentityAuthority
from cluster_agent.store import tables
from service.errors import SettingsError
from tests.claims import CODE, Administrator
from tests.cluster_agents import (
    AgentUnderClock,
    RunningClusterAgent,
    another_replica,
    pod_token,
    running_cluster_agent,
    wait_until_up,
)
from tests.csrs import csr_of
from tests.postgresql import Postgresql

WEB = Application("shop", "web")


class Claimable(AgentUnderClock):
    """An agent that waits to be claimed, its code in a file."""

    def __init__(self, directory: Path, store_url: str) -> None:
        super().__init__(directory, store_url, claimable=True)
        code_file = directory / "code"
        code_file.write_text(CODE + "\n")
        self.trusted: list[Roots] = []
        self.claiming = self.claim_keeper(code_file, self.trusted.append)
        self.administrator_root = Administrator(self.clock())

    @property
    def key(self) -> PublicKey:
        return self.room.issuing.public_key

    async def claim(self, **changes: Any) -> None:
        await self.claiming.claim(**self.administrator_root.claim(self.key, **changes))


@pytest.fixture
async def unclaimed(tmp_path: Path, store_url: str) -> AsyncIterator[Claimable]:
    agent = Claimable(tmp_path, store_url)
    await agent.claiming.start()
    yield agent
    await agent.store.close()


async def refused(unclaimed: Claimable, **changes: Any) -> Refusal:
    """The refusal of a claim that must be refused, with the agent as unclaimed as before."""
    with pytest.raises(Refusal) as caught:
        await unclaimed.claim(**changes)
    assert unclaimed.room.kind == "unclaimed"
    assert await unclaimed.store.claim.read() is None
    assert unclaimed.trusted == []
    return caught.value


async def test_an_unclaimed_agent_issues_nothing_and_says_why(unclaimed: Claimable) -> None:
    for call in (
        unclaimed.secrets.make(unclaimed.administrator(), WEB),
        unclaimed.issuer.seek_blessings(
            unclaimed.administrator(), csr_of(Principal.create()), unclaimed.token(), None
        ),
    ):
        with pytest.raises(Unavailable, match="nobody has claimed this cluster agent yet"):
            await call
    assert unclaimed.claiming.waits == "unclaimed: it waits for an administrator, vkube claim-cluster-agent"
    assert len(unclaimed.room.identity_roots) == 0


async def test_a_claimed_agent_names_replicas_under_the_administrators_root(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    assert unclaimed.claiming.waits is None
    issued = await unclaimed.secrets.make(unclaimed.administrator(), WEB)
    answer = await unclaimed.issuer.seek_blessings(
        unclaimed.caller(issued.credential.blessing), csr_of(Principal.create()), unclaimed.token(), None
    )
    roots = Roots.of(unclaimed.administrator_root.root.certificate)
    assert str(verify_blessing(answer.blessing, roots, now=unclaimed.clock())) == "acme:prod:shop:web:web-1"
    assert unclaimed.trusted == [roots]


async def test_the_agent_never_has_the_roots_key(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    assert sorted(unclaimed.room.fingerprints) == ["bootstrap", "issuing"]
    root = fingerprint(unclaimed.administrator_root.root.principal.public_key)
    assert root not in unclaimed.room.fingerprints.values()


async def test_a_second_claim_fails_and_says_whose_it_is(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    other = Administrator(unclaimed.clock())
    with pytest.raises(Conflict, match="was claimed by the root acme with the key") as caught:
        await unclaimed.claiming.claim(**other.claim(unclaimed.key))
    assert caught.value.reason == "AlreadyClaimed"
    assert fingerprint(unclaimed.administrator_root.root.principal.public_key) in str(caught.value)


async def test_of_claims_at_once_exactly_one_wins(unclaimed: Claimable) -> None:
    everybody = [Administrator(unclaimed.clock()) for _ in range(6)]
    outcomes = await asyncio.gather(
        *(unclaimed.claiming.claim(**one.claim(unclaimed.key)) for one in everybody), return_exceptions=True
    )
    winners = [
        one for one, outcome in zip(everybody, outcomes, strict=True) if not isinstance(outcome, Refusal)
    ]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)] == ["AlreadyClaimed"] * 5
    (winner,) = winners
    assert unclaimed.room.identity_roots == Roots.of(winner.root.certificate)


async def test_of_claims_of_two_replicas_at_once_exactly_one_wins(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    url = postgresql.new_database()
    first, second = Claimable(tmp_path, url), Claimable(tmp_path, url)
    outcomes = await asyncio.gather(first.claim(), second.claim(), return_exceptions=True)
    assert sorted(outcome.reason if isinstance(outcome, Refusal) else "won" for outcome in outcomes) == [
        "AlreadyClaimed",
        "won",
    ]
    assert first.room.identity_roots == second.room.identity_roots
    for one in (first, second):
        await one.store.close()


async def test_another_replica_takes_the_claim_up(tmp_path: Path, postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    first, second = Claimable(tmp_path, url), Claimable(tmp_path, url)
    await first.claim()
    assert second.room.kind == "unclaimed"
    await second.claiming.look()
    assert second.room.identity_roots == first.room.identity_roots
    for one in (first, second):
        await one.store.close()


async def test_attack_a_claim_without_the_code(unclaimed: Claimable) -> None:
    for code in ("", "x" * 32, CODE[:-1], "é"):
        assert (await refused(unclaimed, code=code)).reason == "WrongClaimCode"


async def test_attack_a_blessing_of_another_key(unclaimed: Claimable) -> None:
    chain = unclaimed.administrator_root.grant(Principal.create().public_key)
    assert (await refused(unclaimed, chain=chain)).reason == "BlessingForAnotherKey"


async def test_attack_a_chain_of_another_root_of_that_name(unclaimed: Claimable) -> None:
    chain = Administrator(unclaimed.clock()).grant(unclaimed.key)
    refusal = await refused(unclaimed, chain=chain)
    assert (refusal.reason, "UnrecognisedRoot" in str(refusal)) == ("ChainInvalid", True)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"extension": "test"}, "OtherName"),
        ({"extension": "prod:shop"}, "OtherName"),
        ({"path_length": 0}, "NoRoomBelow"),
        ({"lifetime": timedelta(hours=23)}, "EndsTooSoon"),
        (
            {"caveats": [Expiry(datetime(2100, 1, 1, tzinfo=UTC))]},
            "RestrictedBlessing",
        ),
    ],
)
async def test_a_delegation_that_is_not_what_is_needed(
    unclaimed: Claimable, keywords: dict[str, Any], reason: str
) -> None:
    chain = unclaimed.administrator_root.grant(unclaimed.key, **keywords)
    assert (await refused(unclaimed, chain=chain)).reason == reason


async def test_a_leaf_is_no_delegation(unclaimed: Claimable) -> None:
    leaf = unclaimed.administrator_root.root.bless(
        unclaimed.key, "prod", now=unclaimed.clock(), lifetime=timedelta(days=30)
    )
    assert (await refused(unclaimed, chain=leaf.to_pem())).reason == "NotSigning"


async def test_an_expired_delegation_is_refused(unclaimed: Claimable) -> None:
    chain = unclaimed.administrator_root.grant(unclaimed.key, lifetime=timedelta(days=2))
    unclaimed.clock.turn(hours=49)
    assert (await refused(unclaimed, chain=chain)).reason == "ChainInvalid"


async def test_attack_a_root_that_is_none(unclaimed: Claimable) -> None:
    root = unclaimed.administrator_root
    stranger = Administrator(unclaimed.clock())
    _, leaf = root.leaf()
    below = Authority(
        stranger.root.principal,
        root.root.grant(
            stranger.root.principal.public_key, "x", now=unclaimed.clock(), lifetime=timedelta(days=1)
        ),
    )
    for pem, reason in (
        ("no PEM", "InvalidRoot"),
        (root.root_pem + stranger.root_pem, "InvalidRoot"),
        (leaf.to_pem(), "InvalidRoot"),
        (to_pem([below.certificate]), "OtherRoot"),
        (Administrator(unclaimed.clock(), "other").root_pem, "OtherRoot"),
        (stranger.root_pem, "ChainInvalid"),
    ):
        assert (await refused(unclaimed, root=pem)).reason == reason, pem


@pytest.mark.parametrize(
    ("administrators", "reason"),
    [
        ({"in": []}, "InvalidAdministrators"),
        ({"in": ["a b"]}, "InvalidAdministrators"),
        ({"in": ["other:administrator"]}, "InvalidAdministrators"),
        ({"in": ["vanadium-control-plane"]}, "InvalidAdministrators"),
        ({"in": ["..."]}, "AdministratorsAmongReplicas"),
        ({"in": ["acme"]}, "AdministratorsAmongReplicas"),
        ({"in": ["acme:prod"]}, "AdministratorsAmongReplicas"),
        ({"in": ["acme:prod:shop:web"]}, "AdministratorsAmongReplicas"),
        ({"in": ["acme:prod:shop:web:web-1:$"]}, "AdministratorsAmongReplicas"),
    ],
)
async def test_attack_an_access_list_that_lets_replicas_administer(
    unclaimed: Claimable, administrators: dict[str, Any], reason: str
) -> None:
    assert (await refused(unclaimed, administrators=administrators)).reason == reason


async def test_a_claim_names_its_administrators_beside_the_webhook(unclaimed: Claimable) -> None:
    await unclaimed.claim(administrators={"in": ["acme:ops"], "not_in": ["acme:ops:intern"]})
    _, chief = unclaimed.administrator_root.leaf("ops:chief")
    assert await unclaimed.secrets.live(unclaimed.caller(chief)) == []
    assert await unclaimed.secrets.live(unclaimed.administrator()) == []
    for extension in ("ops:intern", "administrator", "prod:ops"):
        _, other = unclaimed.administrator_root.leaf(extension)
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await unclaimed.secrets.live(unclaimed.caller(other))


async def test_attack_an_administrators_name_signed_by_the_agents_own_key(unclaimed: Claimable) -> None:
    """Even where the access list says everybody, who was named by the agent does not administer it."""
    await unclaimed.claim()
    room = unclaimed.room
    replica = room.sign_replica(
        Name.parse("acme:prod:shop:web"),
        "web-1",
        Principal.create().public_key,
        now=unclaimed.clock(),
        ttl=timedelta(hours=1),
    )
    everybody = unclaimed.administrators.access_list.from_value({"in": ["..."]})
    unclaimed.administrators.access_list = everybody
    with pytest.raises(Forbidden):
        await unclaimed.secrets.live(unclaimed.caller(replica))


async def test_a_claim_is_there_after_a_restart(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    await unclaimed.claiming.start()
    again = unclaimed.claim_keeper(None, unclaimed.trusted.append)
    unclaimed.room.given = None
    await again.start()
    assert unclaimed.room.kind == "claimed"
    assert unclaimed.room.identity_roots == Roots.of(unclaimed.administrator_root.root.certificate)


async def test_a_claim_whose_chain_has_ended_is_still_known_and_signs_nothing(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    issued = await unclaimed.secrets.make(unclaimed.administrator(), WEB)
    unclaimed.clock.turn(days=80)
    caller = unclaimed.caller(issued.credential.blessing)
    unclaimed.clock.turn(days=300)
    unclaimed.room.given = None
    await unclaimed.claiming.start()
    assert unclaimed.room.kind == "claimed"
    with pytest.raises(Unavailable, match="too soon to sign with it"):
        await unclaimed.issuer.seek_blessings(
            caller, csr_of(Principal.create()), unclaimed.token(lifetime=timedelta(hours=1)), None
        )


async def test_attack_a_claim_written_into_the_database(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    attacker = Administrator(unclaimed.clock())
    body = attacker.claim(unclaimed.key)
    forged = claim.check_claim(
        body["chain"],
        body["root"],
        body["administrators"],
        prefix=unclaimed.prefix,
        issuing=unclaimed.room.issuing,
        longest_ttl=timedelta(hours=1),
        now=unclaimed.clock(),
    )
    statement = update(tables.documents).values(document=forged.spelled)
    with unclaimed.store._access.database.writing.begin() as connection:
        connection.execute(statement)
    unclaimed.room.given = None
    with pytest.raises(StoreError, match="not put there by a cluster agent with this issuing key"):
        await unclaimed.claiming.start()
    assert unclaimed.room.kind == "unclaimed"


async def test_an_agent_with_a_root_of_its_own_is_not_claimed(tmp_path: Path, store_url: str) -> None:
    own = AgentUnderClock(tmp_path, store_url)
    claiming = own.claim_keeper(None, lambda _: None)
    await claiming.start()
    body = Administrator(own.clock()).claim(own.room.issuing.public_key)
    with pytest.raises(Conflict, match="root is self-made, so it cannot be claimed"):
        await claiming.claim(**body)
    await own.store.close()


async def test_attack_a_claimed_agents_store_under_a_root_of_its_own(unclaimed: Claimable) -> None:
    await unclaimed.claim()
    self_made = Authority.create_root(
        Name.parse("acme"), Principal.create(), now=unclaimed.clock(), lifetime=timedelta(days=9)
    )
    unclaimed.room.given = IdentityAuthority.of_root(self_made)
    with pytest.raises(StoreError, match="was claimed by an administrator"):
        await unclaimed.claiming.start()


@pytest.mark.parametrize("code", ["", "short", "é" * 40])
async def test_a_code_that_could_be_guessed_stops_the_start(unclaimed: Claimable, code: str) -> None:
    assert unclaimed.claiming.code_file is not None
    unclaimed.claiming.code_file.write_text(code)
    with pytest.raises(SettingsError, match="--claim-code-file"):
        await unclaimed.claiming.start()


# The program.


def reason_of(response: httpx.Response) -> str:
    reason: str = response.json()["error"]["reason"]
    return reason


def claimable_settings(directory: Path) -> dict[str, Any]:
    (directory / "code").write_text(CODE)
    return {"claim": "required", "claim_code_file": directory / "code"}


def key_to_claim(agent: RunningClusterAgent) -> PublicKey:
    with agent.client(None, None) as client:
        csr = x509.load_pem_x509_csr(client.get("/v1/claim").json()["csr"].encode())
    assert csr.is_signature_valid
    return check_public_key(csr.public_key())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_program_waits_is_claimed_and_issues(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    settings = claimable_settings(tmp_path)
    if kind == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgresql").new_database()
    with ExitStack() as stack:
        agent = stack.enter_context(running_cluster_agent(tmp_path, **settings))
        (tmp_path / "second").mkdir()
        agents = [agent]
        if kind == "postgresql":
            agents.append(stack.enter_context(another_replica(agent, tmp_path / "second")))
        for one in agents:
            waiting = httpx.get(one.health_url + "/readyz")
            assert (waiting.status_code, "unclaimed" in waiting.json()["reason"]) == (503, True)
            assert httpx.get(one.health_url + "/healthz").json() == {"status": "ok", "root": "unclaimed"}
        with agent.control_plane_client() as client:
            refusal = client.post("/v1/new-secret", json={"namespace": "shop", "serviceAccount": "web"})
            assert (refusal.status_code, reason_of(refusal)) == (503, "Unclaimed")

        administrator = Administrator(datetime.now(UTC))
        body = administrator.claim(key_to_claim(agent))
        with agent.client(None, None) as client:
            assert reason_of(client.post("/v1/claim", json={**body, "code": "x" * 32})) == "WrongClaimCode"
            client.post("/v1/claim", json=body).raise_for_status()
            again = client.post("/v1/claim", json=body)
            assert (again.status_code, reason_of(again)) == (409, "AlreadyClaimed")
            assert client.get("/healthz").json()["root"] == "claimed"
        assert CODE not in agent.log()

        credential = agent.new_secret()["credential"]
        for one in agents:
            wait_until_up(one, claimed=True)
            with one.credential_client(credential) as client:
                answer = client.post(
                    "/v1/seek-blessings",
                    json={"csr": csr_of(Principal.create()), "token": pod_token(one.tokens)},
                )
            answer.raise_for_status()
            roots = Roots.of(administrator.root.certificate)
            name = verify_blessing(Blessing.from_pem(answer.json()["chain"]), roots, now=datetime.now(UTC))
            assert str(name) == "acme:prod:shop:web:web-1"
            # The root that came with the claim lets its administrators through the handshake.
            with one.client(*administrator.leaf()) as client:
                assert len(client.get("/v1/secrets").json()["secrets"]) == 1
            with one.client(*administrator.leaf("intern")) as client:
                assert reason_of(client.get("/v1/secrets")) == "NotAnAdministrator"


def test_an_answered_claim_survives_kill_9(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path, **claimable_settings(tmp_path)) as agent:
        administrator = Administrator(datetime.now(UTC))
        with agent.client(None, None) as client:
            client.post("/v1/claim", json=administrator.claim(key_to_claim(agent))).raise_for_status()
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait()
        # The code is no longer needed.
        (tmp_path / "code").unlink()
        with another_replica(agent, tmp_path) as restarted:
            assert httpx.get(restarted.health_url + "/readyz").status_code == 200
            with restarted.client(None, None) as client:
                roots = Roots.from_json(client.get("/v1/roots").json()["roots"])
            assert roots == Roots.of(administrator.root.certificate)
