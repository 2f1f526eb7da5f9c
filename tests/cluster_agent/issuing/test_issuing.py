"""What the cluster agent issues, and each attack that a check of it stops. The store, the certificates and
the tokens are real; only the clock is the test's."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import func, inspect, select

from blessings import (
    AccessList,
    Authority,
    Blessing,
    Name,
    Pattern,
    Principal,
    VerificationError,
    fingerprint,
    verify_blessing,
)
from cluster_agent.callers import Caller
from cluster_agent.claims.certificate_request import certificate_request
from cluster_agent.errors import BadRequest, Forbidden, NotAuthenticated, NotFound, Refusal
from cluster_agent.fair_queue import Tenant
from cluster_agent.issuing.certification import IssuedBlessing
from cluster_agent.model import Application
from cluster_agent.secrets.bootstrap_secrets import IssuedSecret
from cluster_agent.store import tables
from tests.cluster_agents import AgentUnderClock, pod_token
from tests.csrs import csr_of, of_unknown_version
from vkube.local.token_issuer import TokenIssuer

WEB = Application("shop", "web")


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, store_url)
    yield agent
    await agent.store.close()


async def secret_of(under: AgentUnderClock, application: Application = WEB) -> IssuedSecret:
    return await under.secrets.make(under.administrator(), application)


async def seek(
    under: AgentUnderClock,
    caller: Caller,
    token: str,
    principal: Principal | None = None,
    ttl: int | None = None,
) -> IssuedBlessing:
    return await under.issuer.seek_blessings(caller, csr_of(principal or Principal.create()), token, ttl)


def issuances(under: AgentUnderClock) -> int:
    with under.store._access.database.reading.connect() as connection:
        count: int = connection.execute(select(func.count()).select_from(tables.issuances)).scalar_one()
        return count


async def refused(under: AgentUnderClock, caller: Caller, token: str, csr: str | None = None) -> Refusal:
    """The refusal of a call that must be refused, with nothing issued."""
    before = issuances(under)
    with pytest.raises(Refusal) as caught:
        await under.issuer.seek_blessings(caller, csr or csr_of(Principal.create()), token, None)
    assert issuances(under) == before
    return caught.value


async def test_a_pod_gets_its_own_name_under_its_application(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    principal = Principal.create()
    answer = await seek(under, under.caller(issued.credential.blessing), under.token("web-1"), principal)
    name = verify_blessing(answer.blessing, under.room.identity_roots, now=under.clock())
    assert str(name) == "acme:prod:shop:web:web-1"
    assert fingerprint(answer.blessing.public_key) == fingerprint(principal.public_key)


async def test_the_blessing_lives_for_the_ttl_and_is_renewed_at_half_of_it(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    answer = await seek(under, under.caller(issued.credential.blessing), under.token())
    assert answer.blessing.not_after == under.clock() + timedelta(hours=1)
    assert answer.renew_at == under.clock() + timedelta(minutes=30)


async def test_a_pod_may_ask_for_a_shorter_life_but_not_for_a_longer_one(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    short = await seek(under, caller, under.token(), ttl=600)
    long = await seek(under, caller, under.token(), ttl=86_400)
    assert short.blessing.not_after == under.clock() + timedelta(minutes=10)
    assert long.blessing.not_after == under.clock() + timedelta(hours=1)
    with pytest.raises(BadRequest, match="the least is 300 s"):
        await seek(under, caller, under.token(), ttl=299)


async def test_a_restarted_container_gets_its_name_again_from_the_same_credential(
    under: AgentUnderClock,
) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    first = await seek(under, caller, under.token("web-1"))
    again = await seek(under, caller, under.token("web-1"))
    assert first.name == again.name


async def test_a_replica_renews_with_its_certificate_a_fresh_token_and_a_new_key(
    under: AgentUnderClock,
) -> None:
    first = await seek(under, under.caller((await secret_of(under)).credential.blessing), under.token())
    under.clock.turn(minutes=30)
    renewed = await seek(under, under.caller(first.blessing), under.token())
    assert renewed.name == first.name
    assert renewed.blessing.not_after == first.blessing.not_after + timedelta(minutes=30)


async def test_a_replica_renews_for_60_days_while_application_certificates_come_and_go(
    under: AgentUnderClock,
) -> None:
    under.issuer.ttl = replace(under.issuer.ttl, default=timedelta(hours=24))
    current = await seek(under, under.caller((await secret_of(under)).credential.blessing), under.token())
    issuers = set()
    for _ in range(60 * 2):
        under.clock.turn(hours=12)
        current = await seek(under, under.caller(current.blessing), under.token())
        issuers.add(current.blessing.certificates[1].serial_number)
        assert current.blessing.not_after == under.clock() + timedelta(hours=24), "cut short by its issuer"
    assert len(issuers) == 4


async def test_an_unknown_certificate_of_our_own_root_is_no_entitlement(under: AgentUnderClock) -> None:
    room = under.room
    stranger = room.sign_replica(
        Name.parse("acme:prod:shop:web"),
        "web-1",
        Principal.create().public_key,
        now=under.clock(),
        ttl=timedelta(hours=1),
    )
    refusal = await refused(under, under.caller(stranger), under.token())
    assert refusal.reason == "NotAReplica"


async def test_a_bootstrap_credential_that_was_never_stored_is_refused(under: AgentUnderClock) -> None:
    forged = under.room.sign_bootstrap(now=under.clock())
    assert (await refused(under, under.caller(forged.blessing), under.token())).reason == "UnknownSecret"


async def test_attack_a_copied_secret_without_a_token_trips_the_wire(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    refusal = await refused(under, under.caller(issued.credential.blessing), "")
    assert refusal.reason == "TokenMissing"
    assert [(secret.id, one.reason) for secret, one in under.tripwire.reports] == [
        (issued.secret.id, "TokenMissing")
    ]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"namespace": "evil"}, "TokenOfOtherNamespace"),
        ({"service_account": "other"}, "TokenOfOtherServiceAccount"),
        ({"audience": "https://kubernetes.default.svc"}, "TokenOfOtherAudience"),
        ({"pod_name": ""}, "TokenNotBoundToPod"),
        ({"pod_uid": ""}, "TokenNotBoundToPod"),
    ],
)
async def test_attack_a_copied_secret_with_another_token_trips_the_wire(
    under: AgentUnderClock, claims: dict[str, Any], reason: str
) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    assert (await refused(under, caller, under.token(**claims))).reason == reason
    assert [refusal.reason for _, refusal in under.tripwire.reports] == [reason]


@pytest.mark.parametrize(
    ("turned", "lifetime", "reason"),
    [
        (timedelta(seconds=-61), timedelta(hours=1), "TokenNotYetValid"),
        (timedelta(seconds=660), timedelta(minutes=10), "TokenExpired"),
    ],
)
async def test_a_token_that_is_too_early_or_too_late_is_refused_and_trips_no_wire(
    under: AgentUnderClock, turned: timedelta, lifetime: timedelta, reason: str
) -> None:
    """A wrong clock is no theft."""
    caller = under.caller((await secret_of(under)).credential.blessing)
    token = under.token(lifetime=lifetime)
    under.clock.turn(seconds=turned.total_seconds())
    assert (await refused(under, caller, token)).reason == reason
    assert under.tripwire.reports == []


@pytest.mark.parametrize("seconds", [-60, -3, 659])
async def test_a_clock_may_be_a_minute_off(under: AgentUnderClock, seconds: int) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    token = under.token(lifetime=timedelta(minutes=10))
    under.clock.turn(seconds=seconds)
    await seek(under, caller, token)


@pytest.mark.parametrize("pod", ["web 1", "..", "web:1", "w" * 254, "wéb"])
async def test_attack_a_token_of_a_pod_whose_name_cannot_be_in_a_blessing(
    under: AgentUnderClock, pod: str
) -> None:
    """No API server signs one, but `jwks` believes any issuer that it was given."""
    caller = under.caller((await secret_of(under)).credential.blessing)
    refusal = await refused(under, caller, under.token(pod))
    assert (refusal.status, refusal.reason) == (400, "InvalidPodName")


async def test_attack_a_token_signed_by_a_key_of_the_attackers_own(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    attacker = TokenIssuer(under.tokens.issuer, under.clock)
    under.clock.turn(minutes=5)
    assert (await refused(under, caller, pod_token(attacker))).reason == "TokenNotAuthenticated"


async def test_attack_a_token_whose_claims_were_changed(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    header, _, signature = under.token("web-1").split(".")
    _, claims, _ = under.token("web-2").split(".")
    assert (await refused(under, caller, f"{header}.{claims}.{signature}")).reason == "TokenNotAuthenticated"


@pytest.mark.parametrize("token", ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "é" * 10, "." * 1000])
async def test_attack_a_token_that_is_none(under: AgentUnderClock, token: str) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    assert (await refused(under, caller, token)).reason == "TokenNotAuthenticated"


@pytest.mark.parametrize(
    "changes", [{"pod": "web-2"}, {"pod": "web-1", "pod_uid": "a-later-pod-of-that-name"}]
)
async def test_attack_a_renewal_with_the_token_of_another_pod(
    under: AgentUnderClock, changes: dict[str, str]
) -> None:
    first = await seek(
        under, under.caller((await secret_of(under)).credential.blessing), under.token("web-1")
    )
    refusal = await refused(under, under.caller(first.blessing), under.token(**changes))
    assert refusal.reason == "TokenOfOtherPod"


async def test_attack_the_credential_of_another_namespace(under: AgentUnderClock) -> None:
    elsewhere = await secret_of(under, Application("evil", "web"))
    refusal = await refused(under, under.caller(elsewhere.credential.blessing), under.token("web-1"))
    assert refusal.reason == "TokenOfOtherNamespace"


async def test_attack_a_csr_signed_by_another_key_than_the_one_in_it(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    der = bytearray(x509.load_pem_x509_csr(csr_of(Principal.create()).encode()).public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    assert (await refused(under, caller, under.token(), forged)).reason == "CsrSignatureInvalid"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256K1()),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA", "secp256k1", "P-384"],
)
async def test_a_csr_for_a_key_of_another_kind_is_refused(
    under: AgentUnderClock, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    refusal = await refused(under, caller, under.token(), csr.public_bytes(Encoding.PEM).decode())
    assert refusal.reason == "InvalidKey"


async def test_text_that_is_no_csr_is_refused(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    der = of_unknown_version(Principal.create().csr().public_bytes(Encoding.DER))
    pem = ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    for text in ("no csr", pem):
        assert (await refused(under, caller, under.token(), text)).reason == "InvalidCsr"


async def test_what_a_csr_asks_for_is_not_granted(under: AgentUnderClock) -> None:
    caller = under.caller((await secret_of(under)).credential.blessing)
    principal = Principal.create()
    wish = x509.UniformResourceIdentifier("spiffe://acme/prod/shop/admin/admin-1")
    csr = (
        x509.CertificateSigningRequestBuilder(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([wish]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(principal.signing_key, hashes.SHA256())
    )
    answer = await under.issuer.seek_blessings(
        caller, csr.public_bytes(Encoding.PEM).decode(), under.token("web-1"), None
    )
    name = verify_blessing(answer.blessing, under.room.identity_roots, now=under.clock())
    assert str(name) == "acme:prod:shop:web:web-1"


async def test_attack_the_agents_own_certificate_request(under: AgentUnderClock) -> None:
    """`/v1/claim` and `/v1/upstream` give it to clients: an identity that the agent's key would prove."""
    caller = under.caller((await secret_of(under)).credential.blessing)
    for own in (under.room.issuing, under.room.bootstrap.principal, under.room.identity.signing.principal):
        refusal = await refused(under, caller, under.token(), certificate_request(own, under.prefix))
        assert (type(refusal), refusal.reason) == (BadRequest, "KeyOfTheAgent")


async def test_attack_a_request_for_a_key_that_is_in_use_already(under: AgentUnderClock) -> None:
    principal = Principal.create()
    caller = under.caller((await secret_of(under)).credential.blessing)
    first = await seek(under, caller, under.token("web-1"), principal)
    for again in (caller, under.caller(first.blessing)):
        assert (await refused(under, again, under.token("web-1"), csr_of(principal))).reason == "KeyReused"


async def test_forgetting_a_secret_stops_issuing_and_renewing_at_once(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    caller = under.caller(issued.credential.blessing)
    first = await seek(under, caller, under.token())
    await under.secrets.forget(under.administrator(), issued.secret.id)
    assert (await refused(under, caller, under.token())).reason == "SecretForgotten"
    assert (await refused(under, under.caller(first.blessing), under.token())).reason == "SecretForgotten"


async def test_a_secret_forgotten_while_a_token_is_under_review_issues_nothing(
    under: AgentUnderClock,
) -> None:
    issued = await secret_of(under)

    class ForgettingAttestor:
        kind = "jwks"

        async def attest(self, token: str, tenant: Tenant) -> object:
            await under.secrets.forget(under.administrator(), issued.secret.id)
            return await attestor.attest(token, tenant)

    attestor = under.issuer.attestor
    under.issuer.attestor = ForgettingAttestor()  # type: ignore[assignment]  # wraps the real one
    refusal = await refused(under, under.caller(issued.credential.blessing), under.token())
    assert refusal.reason == "SecretForgotten"


async def test_an_unknown_secret_cannot_be_forgotten(under: AgentUnderClock) -> None:
    with pytest.raises(NotFound, match="no secret has the id unknown"):
        await under.secrets.forget(under.administrator(), "unknown")


async def test_a_rotated_credential_works_beside_the_old_one(under: AgentUnderClock) -> None:
    old, new = await secret_of(under), await secret_of(under)
    for issued in (old, new):
        answer = await seek(under, under.caller(issued.credential.blessing), under.token())
        assert str(answer.name) == "acme:prod:shop:web:web-1"


async def test_attack_administration_by_a_replica_or_a_bootstrap_credential(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    bootstrap = under.caller(issued.credential.blessing)
    replica = under.caller((await seek(under, bootstrap, under.token())).blessing)
    for caller in (bootstrap, replica, under.control_plane_caller("cluster-agent")):
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await under.secrets.make(caller, WEB)
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await under.secrets.forget(caller, issued.secret.id)
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await under.secrets.live(caller)


async def test_attack_administration_by_a_bootstrap_credential_under_a_list_that_is_too_wide(
    under: AgentUnderClock,
) -> None:
    bootstrap = under.caller((await secret_of(under)).credential.blessing)
    for pattern in ("...", "vanadium-bootstrap"):
        under.administrators.access_list = AccessList((Pattern.parse(pattern),))
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await under.secrets.make(bootstrap, WEB)


async def test_attack_an_identity_root_that_claims_the_administrators_name(under: AgentUnderClock) -> None:
    imposter = Authority.create_root(
        Name.parse("vanadium-control-plane"),
        Principal.create(),
        now=under.clock(),
        lifetime=timedelta(days=1),
    )
    blessing = imposter.bless(
        Principal.create().public_key, "webhook", now=under.clock(), lifetime=timedelta(hours=1)
    )
    with pytest.raises(NotAuthenticated, match="UnrecognisedRoot"):
        under.caller(blessing)


async def test_attack_a_certificate_after_its_time(under: AgentUnderClock) -> None:
    first = await seek(under, under.caller((await secret_of(under)).credential.blessing), under.token())
    under.clock.turn(hours=1)
    with pytest.raises(NotAuthenticated, match="Expired"):
        under.caller(first.blessing)


async def test_a_connection_without_a_certificate_is_nobody(under: AgentUnderClock) -> None:
    with pytest.raises(NotAuthenticated, match="needs a client certificate"):
        under.caller(None)  # type: ignore[arg-type]  # what an empty TLS extension gives


async def test_a_bootstrap_credential_proves_nothing_to_a_peer(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    with pytest.raises(VerificationError, match="no recognised root"):
        verify_blessing(issued.credential.blessing, under.room.identity_roots, now=under.clock())


async def test_an_expired_root_never_signs(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    caller = under.caller(issued.credential.blessing)
    under.clock.turn(days=3650)
    refusal = await refused(under, caller, under.token())
    assert refusal.reason == "IssuerEnding"


async def test_the_store_holds_no_usable_secret(under: AgentUnderClock) -> None:
    issued = await secret_of(under)
    stored = ""
    with under.store._access.database.reading.connect() as connection:
        for table in inspect(connection).get_table_names():
            stored += repr(connection.exec_driver_sql(f"SELECT * FROM {table}").all())  # noqa: S608
    assert issued.secret.id in stored
    for line in issued.credential.principal.to_pem().decode().splitlines()[1:-1]:
        assert line not in stored
    assert "PRIVATE KEY" not in stored


def test_an_application_name_follows_from_namespace_and_service_account_alone() -> None:
    assert str(WEB.name_under(Name.parse("acme:prod"))) == "acme:prod:shop:web"


def test_a_chain_is_presented_leaf_first_without_the_root(under: AgentUnderClock) -> None:
    blessing: Blessing = under.room.sign_replica(
        Name.parse("acme:prod:shop:web"),
        "web-1",
        Principal.create().public_key,
        now=under.clock(),
        ttl=timedelta(hours=1),
    )
    assert len(blessing.certificates) == 2
