"""Bundles of other trust domains: who may add them, what is refused, and that they prove nothing here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from blessings import Authority, Name, Principal, Roots, TrustBundle, VerificationError, verify_blessing
from blessings.jwt.keys import key_id_of, numbers_of
from cluster_agent.api.federation import federation_routes
from cluster_agent.audit import Record
from cluster_agent.errors import BadRequest, NotAuthenticated, NotFound, Refusal, StoreError
from cluster_agent.federation.bundles import MOST_BUNDLE_BYTES, MOST_BYTES_IN_ALL, MOST_DOMAINS
from cluster_agent.federation.federation import Federation
from cluster_agent.model import Application
from cluster_agent.publications import PollingPace, Publications
from cluster_agent.store.fleet import Share
from service.shared_answers import PART_BYTES, ReaderLimits, Readers
from tests.cluster_agent.audit.test_audit import shown
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of


@pytest.fixture
async def under(tmp_path: Path, store_url: str) -> AsyncIterator[AgentUnderClock]:
    agent = AgentUnderClock(tmp_path, store_url)
    yield agent
    await agent.store.close()


def root_of(under: AgentUnderClock, name: str) -> Authority:
    return Authority.create_root(
        Name.parse(name), Principal.create(), now=under.clock(), lifetime=timedelta(days=365)
    )


def jwk_of(principal: Principal) -> dict[str, str]:
    key = principal.public_key
    return {"use": "jwt-svid", "kid": key_id_of(key), **numbers_of(key)}


def bundle_of(root: Authority, *jwt_keys: Principal) -> dict[str, Any]:
    made: Any = TrustBundle.of(Roots.of(root.certificate), root.name).to_value()
    made["keys"] += [jwk_of(one) for one in jwt_keys]
    return dict(made)


async def refused(under: AgentUnderClock, trust_domain: str, bundle: object) -> str:
    before = under.federation.state
    with pytest.raises(Refusal) as caught:
        await under.federation.put(under.administrator(), trust_domain, bundle)
    assert under.federation.state == before
    return caught.value.reason


async def test_replicas_get_what_an_administrator_added_until_it_is_removed(
    under: AgentUnderClock, store_url: str
) -> None:
    partner = bundle_of(root_of(under, "partner"), Principal.create())
    assert under.federation.version == 0
    other = {"kty": "RSA", "use": "tls-server", "n": "AQAB", "e": "AQAB"}
    given = {"keys": [*partner["keys"], other], "spiffe_sequence": 7}
    await under.federation.put(under.administrator(), "spiffe://partner", given)
    kept = {**partner, "spiffe_sequence": 7}
    assert under.federation.after(0) == {"bundles": {"partner": kept}}
    # Another replica of the agent.
    second = Federation(
        under.store.federation, under.room.issuing, under.prefix, under.administrators, under.clock
    )
    await second.look()
    assert second.state == under.federation.state
    # Both change it, each seen by the other.
    await second.put(under.administrator(), "other", bundle_of(root_of(under, "other")))
    await under.federation.remove(under.administrator(), "partner")
    assert list(under.federation.state.by_domain) == ["other"]
    assert under.federation.version == 3
    with pytest.raises(NotFound):
        await under.federation.remove(under.administrator(), "partner")
    acts = [(one["act"], one["trustDomain"]) for one in shown(store_url) if "trustDomain" in one]
    assert acts == [
        ("bundle-federated", "partner"),
        ("bundle-federated", "other"),
        ("bundle-removed", "partner"),
    ]


async def test_a_replica_that_has_none_is_told_nothing_and_one_that_lacks_some_gets_them(
    under: AgentUnderClock,
) -> None:
    pace = PollingPace(polls_per_second=100, shortest_pause=timedelta(seconds=15))
    publications = Publications(under.store, [under.federation], pace, under.clock)
    secret = await under.secrets.make(under.administrator(), Application("shop", "web"))
    bootstrap = under.caller(secret.credential.blessing)
    issued = await under.issuer.seek_blessings(bootstrap, csr_of(Principal.create()), under.token(), None)
    replica = await under.issuer.replica(under.caller(issued.blessing))
    answer: Any = await publications.answer(replica, {"federation": 0})
    assert answer["publications"] == {}
    await publications.count()
    assert publications.shares["federation"] == Share(1, 1), "nobody lacks what there is not"
    await under.federation.put(under.administrator(), "partner", bundle_of(root_of(under, "partner")))
    answer = await publications.answer(replica, {"federation": 0})
    assert answer["publications"]["federation"]["version"] == 1
    await publications.count()
    assert publications.shares["federation"] == Share(1, 0)
    assert (await publications.answer(replica, {"federation": 1}))["publications"] == {}


async def test_attack_a_federated_root_names_nobody_here(under: AgentUnderClock) -> None:
    """Neither a name of its own trust domain, nor one of ours, nor an administrator."""
    partner = root_of(under, "partner")
    await under.federation.put(under.administrator(), "partner", bundle_of(partner))
    evil = Principal.create()
    for extension in ("api", "administrator"):
        blessing = partner.bless(evil.public_key, extension, now=under.clock(), lifetime=timedelta(hours=1))
        with pytest.raises(NotAuthenticated):
            under.caller(blessing)
        with pytest.raises(VerificationError):
            verify_blessing(blessing, under.room.identity_roots, now=under.clock())
    assert len(under.room.identity_roots) == 1


@pytest.mark.parametrize("name", ["acme", "vanadium-bootstrap", "vanadium-control-plane", "spiffe://acme"])
async def test_attack_a_bundle_for_a_trust_domain_of_ours(under: AgentUnderClock, name: str) -> None:
    evil = root_of(under, name.removeprefix("spiffe://"))
    assert await refused(under, name, bundle_of(evil)) == "OwnTrustDomain"


async def test_attack_a_partners_bundle_with_a_root_that_is_of_our_trust_domain(
    under: AgentUnderClock,
) -> None:
    evil = root_of(under, "acme")
    assert await refused(under, "partner", bundle_of(evil)) == "InvalidBundle"
    ours = TrustBundle.of(under.room.identity_roots, Name.parse("acme")).to_value()
    assert await refused(under, "partner", ours) == "InvalidBundle"


@pytest.mark.parametrize(
    ("trust_domain", "reason"),
    [("", "InvalidTrustDomain"), ("a:b", "InvalidTrustDomain"), ("Partner", "InvalidTrustDomain")],
)
async def test_names_that_are_no_trust_domain(under: AgentUnderClock, trust_domain: str, reason: str) -> None:
    assert await refused(under, trust_domain, bundle_of(root_of(under, "partner"))) == reason


async def test_attack_bundles_that_are_malformed_empty_or_too_long(under: AgentUnderClock) -> None:
    good = bundle_of(root_of(under, "partner"))
    key = jwk_of(Principal.create())
    malformed: tuple[dict[str, Any], ...] = (
        {},
        {"keys": []},
        {"keys": "all"},
        {"keys": [7]},
        {"keys": [{**key, "kid": ""}]},
        {"keys": [{**key, "kty": "oct", "k": "AA"}]},
        {"keys": [{**key, "d": "AA"}]},
        {"keys": [key, key]},
        {"keys": [{**key, "kid": str(number)} for number in range(33)]},
        {"keys": [{"use": "x509-svid", "x5c": ["AA"]}]},
        {**good, "more": "x" * MOST_BUNDLE_BYTES},
    )
    for bundle in malformed:
        assert await refused(under, "partner", bundle) == "InvalidBundle", bundle


async def test_attack_no_more_than_every_pod_agent_can_hold(under: AgentUnderClock) -> None:
    administrator, jwk = under.administrator(), jwk_of(Principal.create())
    for number in range(MOST_DOMAINS):
        await under.federation.put(administrator, f"partner-{number}", {"keys": [jwk]})
    assert await refused(under, "one-more", {"keys": [jwk]}) == "TooMuchFederation"
    await under.federation.put(administrator, "partner-0", {"keys": [{**jwk, "kid": "renewed"}]})
    # Few, and large.
    large = {"keys": [{**jwk, "x-more": "x" * (MOST_BUNDLE_BYTES - 1000)}]}
    reasons = []
    for number in range(6):
        try:
            await under.federation.put(administrator, f"partner-{number}", large)
        except BadRequest as refusal:
            reasons.append(refusal.reason)
    assert reasons
    assert set(reasons) == {"TooMuchFederation"}
    assert len(json.dumps(under.federation.after(0))) <= MOST_BYTES_IN_ALL + 1000


async def test_attack_who_is_no_administrator_federates_nothing(under: AgentUnderClock) -> None:
    bundle = bundle_of(root_of(under, "partner"))
    for caller in (under.secret_keeper(), under.control_plane_caller("cluster-agent")):
        with pytest.raises(Refusal) as caught:
            await under.federation.put(caller, "partner", bundle)
        assert caught.value.reason == "NotAnAdministrator"
        with pytest.raises(Refusal):
            await under.federation.remove(caller, "partner")
    assert under.federation.version == 0


async def test_attack_a_program_that_writes_to_the_database_adds_no_bundle(under: AgentUnderClock) -> None:
    await under.federation.put(under.administrator(), "partner", bundle_of(root_of(under, "partner")))
    row = await under.store.federation.read()
    assert row is not None
    forged = row.document.replace('"partner"', '"another"')
    await under.store.federation.replace(
        1, type(row)(2, forged, row.signature), Record("forged", under.clock())
    )
    with pytest.raises(StoreError, match="not put there by a cluster agent"):
        await under.federation.look()
    assert list(under.federation.state.by_domain) == ["partner"]
    # An old state, with a bundle that was removed, is not taken up.
    await under.store.federation.replace(2, row)
    await under.federation.remove(under.administrator(), "partner")
    await under.store.federation.replace(2, row)
    await under.federation.look()
    assert under.federation.state.by_domain == {}


async def test_attack_readers_of_long_bundles_share_their_bytes_and_are_limited(
    under: AgentUnderClock,
) -> None:
    for name in ("one", "two"):
        keys = [{**jwk_of(Principal.create()), "x-more": "x" * 40_000}]
        await under.federation.put(under.administrator(), name, {"keys": keys})
    readers = Readers(
        ReaderLimits(most=1, most_from_address=1, most_kept_bytes=1 << 20), lambda: PermissionError()
    )
    (route,) = [
        one
        for one in federation_routes(under.federation, readers).routes
        if isinstance(one, APIRoute) and one.path == "/v1/federated-bundles"
    ]
    before = under.federation.state.answer
    await under.federation.look()
    assert under.federation.state.answer is before
    assert len(before) > PART_BYTES
    answer = await route.endpoint()
    with (
        readers.reading("", (bytes(PART_BYTES + 1),), lambda: None),
        pytest.raises(PermissionError),
    ):
        await answer({"type": "http"}, None, None)
