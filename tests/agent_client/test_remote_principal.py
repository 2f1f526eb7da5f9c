"""The pod's principal through the agent protocol, on a real Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent_client import AgentClient, AgentError, RemotePrincipal
from blessings import (
    WITH_DELEGATION,
    BlessedPrincipal,
    BlessingStore,
    Call,
    CannotBless,
    Expiry,
    Methods,
    Principal,
    ReadOnly,
    VerificationError,
    verify_blessing,
    verify_signature,
)
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import HeldLists
from tests.agent_client.serving import serving_agent_protocol
from tests.chains import HOUR, NOW, realm
from tests.clock import Clock
from tests.pod_agent.published_lists import Source

ONE = realm()
PHONE = Principal.create()


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    current = CurrentIdentity(Clock(NOW))
    identity = Identity(1, ONE.replica, ONE.blessing, ONE.blessing.presented, ONE.roots, NOW + HOUR / 2)
    asyncio.run(current.set(identity))
    with serving_agent_protocol(current, HeldLists(Source())) as path:
        yield path


@pytest.fixture
def agent(socket: Path) -> Iterator[AgentClient]:
    with AgentClient(socket) as client:
        yield client


@pytest.fixture
def principal(agent: AgentClient) -> BlessedPrincipal:
    return RemotePrincipal(agent)


def test_it_presents_recognises_and_signs_as_the_pod(principal: BlessedPrincipal) -> None:
    assert principal.public_key == ONE.replica.public_key
    assert principal.blessings == BlessingStore(ONE.blessing)
    assert principal.roots == ONE.roots
    assert verify_signature(principal.public_key, b"message", principal.sign(b"message"))


def test_it_blesses_another_key_with_caveats(principal: BlessedPrincipal) -> None:
    phone = principal.bless(
        PHONE.public_key, "phone", now=NOW, lifetime=HOUR / 2, caveats=[Methods(("Get",)), Expiry(NOW + HOUR)]
    )
    assert phone.public_key == PHONE.public_key
    assert phone.not_after == NOW + HOUR / 2
    call = Call("Get")
    name = verify_blessing(phone, ONE.roots, now=NOW, policy=WITH_DELEGATION, call=call)
    assert str(name) == "acme:prod:shop:web:web-1:phone"
    with pytest.raises(VerificationError, match="methods"):
        verify_blessing(phone, ONE.roots, now=NOW, policy=WITH_DELEGATION)


def test_what_it_blesses_ends_with_the_pods_own_blessing(principal: BlessedPrincipal) -> None:
    phone = principal.bless(PHONE.public_key, "phone", now=NOW, lifetime=timedelta(days=9))
    assert phone.not_after == ONE.blessing.not_after


def test_it_blesses_with_the_served_blessing_only(principal: BlessedPrincipal) -> None:
    principal.bless(PHONE.public_key, "x", now=NOW, lifetime=HOUR, blessing=ONE.blessing)
    with pytest.raises(CannotBless):
        principal.bless(PHONE.public_key, "x", now=NOW, lifetime=HOUR, blessing=realm().blessing)


def test_it_cannot_be_changed(principal: BlessedPrincipal) -> None:
    with pytest.raises(ReadOnly):
        principal.bless_self(ONE.blessing.presented, now=NOW, lifetime=HOUR)
    with pytest.raises(ReadOnly):
        principal.set_blessings(BlessingStore())
    with pytest.raises(ReadOnly):
        principal.set_roots(ONE.roots)


@pytest.mark.parametrize(
    ("extension", "lifetime", "reason"),
    [
        ("a b", HOUR, "MalformedRequest"),
        ("...", HOUR, "MalformedRequest"),
        ("x", timedelta(0), "CannotBless"),
    ],
)
def test_what_cannot_be_blessed_is_refused_with_the_reason(
    principal: BlessedPrincipal, extension: str, lifetime: timedelta, reason: str
) -> None:
    with pytest.raises(AgentError) as caught:
        principal.bless(PHONE.public_key, extension, now=NOW, lifetime=lifetime)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"publicKey": "no key"},
        {"publicKey": None},
        {"extension": 7},
        {"lifetimeSeconds": "60"},
        {"lifetimeSeconds": True},
        {"lifetimeSeconds": -60},
        {"lifetimeSeconds": 10**10},
        {"caveats": {}},
        {"caveats": [{"kind": "expiry"}]},
        {"more": 1},
    ],
)
def test_a_malformed_request_is_refused(socket: Path, changes: dict[str, object]) -> None:
    pem = PHONE.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    right = {"publicKey": pem, "extension": "x", "lifetimeSeconds": 60, "caveats": []}
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://agent") as client:
        assert client.post("/v1/bless", json=right).status_code == 200
        answer = client.post("/v1/bless", json={**right, **changes})
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "MalformedRequest"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 10_000])
def test_a_body_that_is_no_request_is_refused(socket: Path, content: bytes) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://agent") as client:
        answer = client.post("/v1/bless", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "MalformedRequest"
