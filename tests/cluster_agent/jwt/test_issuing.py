"""Who gets a JWT-SVID, for what, and each attack that a check stops. The store, the certificates and the
tokens are real; only the clock is the test's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blessings import Name, Principal
from blessings.jwt.keys import key_set
from blessings.jwt.svid import MOST_AUDIENCES, JwtSvid, verified
from cluster_agent.attestation.token_review import TokenReviewAttestor
from cluster_agent.callers import Caller
from cluster_agent.errors import Forbidden, Refusal
from cluster_agent.fair_queue import Tenant
from cluster_agent.model import Application
from cluster_agent.revocation.lists import CurrentLists
from tests.cluster_agent.audit.test_audit import shown
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of

WEB = Application("shop", "web")
NAME = Name.parse("acme:prod:shop:web:web-1")


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, store_url)
    await agent.jwt_keys.start()
    yield agent
    await agent.store.close()


async def replica_of(under: AgentUnderClock, pod: str = "web-1", ttl: int | None = None) -> Caller:
    secret = await under.secrets.make(under.administrator(), WEB)
    bootstrap = under.caller(secret.credential.blessing)
    csr = csr_of(Principal.create())
    issued = await under.issuer.seek_blessings(bootstrap, csr, under.token(pod), ttl)
    return under.caller(issued.blessing)


def read(under: AgentUnderClock, token: str, audience: str = "db") -> JwtSvid:
    keys = {"spiffe://acme": key_set(under.jwt_keys.state.jwks())}
    return verified(token, audience, keys, under.clock())


def records(store_url: str) -> list[dict[str, Any]]:
    return [one for one in shown(store_url) if one["act"] == "jwt-svid-issued"]


async def refused(under: AgentUnderClock, caller: Caller, token: str, audiences: list[str]) -> str:
    with pytest.raises(Refusal) as caught:
        await under.jwt.issue(caller, audiences, token)
    return caught.value.reason


async def test_a_replica_gets_one_for_its_own_name_and_the_audiences_that_it_asks_for(
    under: AgentUnderClock, store_url: str
) -> None:
    replica = await replica_of(under)
    issued = await under.jwt.issue(replica, ["db", "spiffe://acme/prod/shop/db"], under.token())
    svid = read(under, issued.token)
    assert (issued.name, svid.name) == (NAME, NAME)
    assert svid.claims["aud"] == ["db", "spiffe://acme/prod/shop/db"]
    assert svid.expires == issued.not_after == under.clock() + timedelta(minutes=5)
    assert "iss" not in svid.claims
    (record,) = records(store_url)
    assert record["caller"] == record["name"] == str(NAME)
    assert record["jti"] == svid.claims["jti"]
    assert record["audiences"] == "db spiffe://acme/prod/shop/db"
    assert issued.token not in json.dumps(record)


async def test_two_are_never_the_same(under: AgentUnderClock) -> None:
    replica = await replica_of(under)
    one, two = [await under.jwt.issue(replica, ["db"], under.token()) for _ in range(2)]
    assert read(under, one.token).claims["jti"] != read(under, two.token).claims["jti"]


async def test_it_states_where_the_keys_are_published(under: AgentUnderClock) -> None:
    under.jwt = replace(under.jwt, issuer_url="https://oidc.test")
    issued = await under.jwt.issue(await replica_of(under), ["db"], under.token())
    assert read(under, issued.token).claims["iss"] == "https://oidc.test"


async def test_it_ends_with_the_certificate_and_with_the_token_if_that_is_earlier(
    under: AgentUnderClock,
) -> None:
    replica = await replica_of(under)
    short = under.token(lifetime=timedelta(seconds=90))
    by_token = await under.jwt.issue(replica, ["db"], short)
    assert by_token.not_after == under.clock() + timedelta(seconds=90)
    under.clock.turn(minutes=58)
    await under.jwt_keys.look()
    by_certificate = await under.jwt.issue(replica, ["db"], under.token())
    assert by_certificate.not_after == replica.blessing.not_after == under.clock() + timedelta(minutes=2)


async def test_attack_a_token_that_has_expired_within_the_leeway_of_the_clocks(
    under: AgentUnderClock,
) -> None:
    replica = await replica_of(under)
    old = under.token(lifetime=timedelta(seconds=30))
    under.clock.turn(seconds=45)
    assert await refused(under, replica, old, ["db"]) == "TokenExpired"


async def test_attack_without_a_token_or_with_that_of_another(under: AgentUnderClock, store_url: str) -> None:
    replica = await replica_of(under)
    for token, reason in (
        ("", "TokenMissing"),
        ("e30.e30.e30", "TokenNotAuthenticated"),
        (under.token("web-2"), "TokenOfOtherPod"),
        (under.token(pod_uid="uid-of-another"), "TokenOfOtherPod"),
        (under.token(namespace="evil"), "TokenOfOtherNamespace"),
        (under.token(service_account="evil"), "TokenOfOtherServiceAccount"),
        (under.token(audience="https://kubernetes.default.svc"), "TokenOfOtherAudience"),
    ):
        assert await refused(under, replica, token, ["db"]) == reason
    assert records(store_url) == []


async def test_attack_a_token_whose_end_cannot_be_read(under: AgentUnderClock) -> None:
    class Endless:
        kind, waiting = "endless", 0

        async def attest(self, token: str, tenant: Tenant) -> Any:
            return replace(await attestor.attest(token, tenant), token_ends=None)

    replica, attestor = await replica_of(under), under.issuer.attestor
    under.issuer.attestor = Endless()
    assert await refused(under, replica, under.token(), ["db"]) == "TokenWithoutEnd"


async def test_the_end_of_a_token_that_the_api_server_reviewed_is_its_own(under: AgentUnderClock) -> None:
    class Api:
        async def create(self, path: str, review: Any) -> Any:
            extra = {
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["uid-of-web-1"],
            }
            user = {"username": "system:serviceaccount:shop:web", "extra": extra}
            return {"status": {"authenticated": True, "audiences": ["ours"], "user": user}}

    attestor: Any = TokenReviewAttestor(Api(), "ours")  # type: ignore[arg-type]
    pod = await attestor.attest(under.token(lifetime=timedelta(minutes=7)))
    assert pod.token_ends == under.clock() + timedelta(minutes=7)
    for opaque in ("opaque", "a.b.c", "a.e30.c"):
        assert (await attestor.attest(opaque)).token_ends is None


async def test_attack_a_bootstrap_credential_and_a_certificate_of_the_control_plane(
    under: AgentUnderClock,
) -> None:
    secret = await under.secrets.make(under.administrator(), WEB)
    bootstrap = under.caller(secret.credential.blessing)
    for caller in (bootstrap, under.administrator(), under.secret_keeper()):
        assert await refused(under, caller, under.token(), ["db"]) == "NotAReplica"


async def test_attack_a_certificate_for_the_name_of_another_that_was_not_issued_here(
    under: AgentUnderClock,
) -> None:
    """Whoever has the key above gives any name; here only what is in the store counts."""
    signing = under.room.identity.signing
    key = Principal.create().public_key
    forged = signing.bless(key, "prod:shop:db:db-1", now=under.clock(), lifetime=timedelta(hours=1))
    assert await refused(under, under.caller(forged), under.token(), ["db"]) == "NotAReplica"


async def test_attack_a_replica_that_was_revoked_and_one_whose_secret_was_forgotten(
    under: AgentUnderClock, store_url: str
) -> None:
    lists = CurrentLists(under.store, under.room, timedelta(hours=1), under.clock)
    revoker = under.make_revoker(lists)
    replica = await replica_of(under)
    await revoker.revoke_pod(under.administrator(), "uid-of-web-1")
    assert await refused(under, replica, under.token(), ["db"]) == "Revoked"
    other = await replica_of(under, "web-2")
    await revoker.revoke_application(under.administrator(), WEB)
    assert await refused(under, other, under.token("web-2"), ["db"]) == "SecretForgotten"
    assert records(store_url) == []


async def test_attack_a_revocation_while_the_token_is_being_attested(
    under: AgentUnderClock, store_url: str
) -> None:
    """The store looks again in the transaction that records the JWT-SVID, and nothing is answered."""
    replica, attestor = await replica_of(under), under.issuer.attestor
    lists = CurrentLists(under.store, under.room, timedelta(hours=1), under.clock)
    revoker = under.make_revoker(lists)

    class Slow:
        kind, waiting = "slow", 0

        async def attest(self, token: str, tenant: Tenant) -> Any:
            pod = await attestor.attest(token, tenant)
            await revoker.revoke_pod(under.administrator(), "uid-of-web-1")
            return pod

    under.issuer.attestor = Slow()
    assert await refused(under, replica, under.token(), ["db"]) == "Revoked"
    assert records(store_url) == []


async def test_attack_a_certificate_that_has_expired_on_an_open_connection(under: AgentUnderClock) -> None:
    replica = await replica_of(under, ttl=300)
    under.clock.turn(seconds=300)
    with pytest.raises(Refusal) as caught:
        under.caller(replica.blessing)
    assert caught.value.reason == "ClientCertificateInvalid"


@pytest.mark.parametrize(
    "audiences",
    [
        [],
        [""],
        ["db", "db"],
        [str(number) for number in range(MOST_AUDIENCES + 1)],
        ["x" * 2049],
        ["x" * 2048, "y" * 2048, "z"],
        ["d b"],
        ["db\n"],
        ["db\x00"],
        ["dé"],
    ],
)
async def test_attack_audiences_that_are_none_too_many_too_long_or_odd(
    under: AgentUnderClock, audiences: list[str]
) -> None:
    assert await refused(under, await replica_of(under), under.token(), audiences) == "InvalidAudiences"


async def test_attack_an_audience_that_would_be_claims(under: AgentUnderClock) -> None:
    evil = 'db"],"sub":"spiffe://acme/evil","x":["'
    issued = await under.jwt.issue(await replica_of(under), [evil], under.token())
    svid = read(under, issued.token, evil)
    assert (svid.name, svid.claims["aud"]) == (NAME, [evil])


async def test_attack_a_name_of_another_trust_domain_gets_none(under: AgentUnderClock) -> None:
    """Verifiers trust the keys for the names of one trust domain."""
    replica = await replica_of(under)
    elsewhere = replace(replica, name=Name.parse("partner:web:web-1"))
    with pytest.raises(Forbidden, match="not of this agent's trust domain"):
        await under.jwt.issue(elsewhere, ["db"], under.token())


async def test_the_store_grows_by_nothing_but_a_bounded_record(
    under: AgentUnderClock, store_url: str
) -> None:
    replica = await replica_of(under)
    await under.jwt.issue(replica, ["x" * 2048, "y" * 2000], under.token())
    (record,) = records(store_url)
    assert len(json.dumps(record)) < 1000
