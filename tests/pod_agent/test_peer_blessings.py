"""Blessings that others granted to the Pod's key, for peers of a pattern, through the agent protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from agent_client import AgentClient, AgentError, RemotePrincipal
from blessings import (
    WITH_DELEGATION,
    Blessing,
    BlessingStore,
    Call,
    Caveat,
    Custom,
    Discharge,
    Discharges,
    Expiry,
    Name,
    Pattern,
    PeerBlessings,
    Principal,
    PublicKey,
    ReadOnly,
    ThirdParty,
    delegate,
    discharge,
    verify_blessing,
)
from blessings.verification.policy import NO_CUSTOM_CAVEATS
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.peer_blessings import MOST_GRANTED
from pod_agent.revocation_lists import HeldLists
from tests.agent_client.serving import serving_agent_protocol
from tests.chains import HOUR, NOW, realm
from tests.clock import Clock
from tests.pod_agent.published_lists import Source

WEB, DB = realm(), realm(application="prod:shop:db", replica="db-1")
DB_NAME, DB_PATTERN = DB.blessing.presented, Pattern.parse("acme:prod:shop:db")
DISCHARGER = Principal.create()


@dataclass
class Pod:
    """A Pod with an identity, whose clock the test turns."""

    current: CurrentIdentity
    clock: Clock
    agent: AgentClient

    def renew(self) -> PublicKey:
        """The key of its next identity."""
        key = Principal.create()
        blessing = WEB.application.bless(key.public_key, "web-1", now=NOW, lifetime=HOUR)
        version = self.agent.chain().version + 1
        served = Identity(version, key, blessing, blessing.presented, WEB.roots, NOW + HOUR / 2)
        asyncio.run(self.current.set(served))
        return key.public_key


@pytest.fixture
def pod() -> Iterator[Pod]:
    clock = Clock(NOW)
    current = CurrentIdentity(clock)
    served = Identity(1, WEB.replica, WEB.blessing, WEB.blessing.presented, WEB.roots, NOW + HOUR / 2)
    asyncio.run(current.set(served))
    with serving_agent_protocol(current, HeldLists(Source())) as path, AgentClient(path) as agent:
        yield Pod(current, clock, agent)


def granted(
    caveats: Sequence[Caveat] = (), key: PublicKey = WEB.replica.public_key, extension: str = "reader"
) -> Blessing:
    """What db lets the holder of that key be."""
    return delegate(DB.replica, DB.blessing, key, extension, now=NOW, lifetime=HOUR / 2, caveats=caveats)


def third_party(number: int = 0) -> ThirdParty:
    return ThirdParty(DISCHARGER.public_key, "https://discharger.example/", bytes([number]) * 16)


def discharged(caveat: ThirdParty, by: Principal = DISCHARGER, *caveats: Caveat) -> Discharges:
    if by is not DISCHARGER:
        other = ThirdParty(by.public_key, caveat.location, caveat.nonce, caveat.conditions)
        forged = discharged_by(other, by, caveats)
        return Discharges((Discharge(caveat.identifier, forged.caveats, forged.signature),))
    return Discharges((discharged_by(caveat, by, caveats),))


def discharged_by(caveat: ThirdParty, by: Principal, caveats: Sequence[Caveat]) -> Discharge:
    return discharge(
        by,
        caveat,
        now=NOW,
        call=Call(),
        registry=NO_CUSTOM_CAVEATS,
        discharges=Discharges(),
        caveats=caveats,
    )


def refused(pod: Pod, blessing: Blessing, pattern: Pattern = DB_PATTERN) -> str:
    with pytest.raises(AgentError) as caught:
        pod.agent.keep_for_peers(pattern, blessing)
    return caught.value.reason


def test_a_peer_is_shown_what_it_granted_and_every_other_peer_the_own_blessing(pod: Pod) -> None:
    reader = granted([PeerBlessings((DB_PATTERN,))])
    pod.agent.keep_for_peers(DB_PATTERN, reader)
    shown = pod.agent.presentation(DB_NAME)
    assert (shown.blessing, shown.missing) == (reader, ())
    judged = verify_blessing(
        shown.blessing, DB.roots, now=NOW, policy=WITH_DELEGATION, call=Call(None, (DB_NAME,))
    )
    assert str(judged) == "acme:prod:shop:db:db-1:reader"
    assert pod.agent.presentation(Name.parse("acme:prod:shop:api:api-1")).blessing == WEB.blessing
    assert pod.agent.blessings() == BlessingStore(WEB.blessing, ((DB_PATTERN, reader),))
    narrower = granted(extension="writer")
    pod.agent.keep_for_peers(Pattern.parse(f"{DB_NAME}:$"), narrower)
    assert pod.agent.presentation(DB_NAME).blessing == narrower
    pod.agent.forget_for_peers(Pattern.parse(f"{DB_NAME}:$"))
    assert pod.agent.presentation(DB_NAME).blessing == reader


def test_missing_discharges_are_named_with_what_to_send_until_they_are_there_and_after_they_expired(
    pod: Pod,
) -> None:
    caveat, nested = third_party(1), third_party(2)
    blessing = granted([caveat])
    assert pod.agent.keep_for_peers(DB_PATTERN, blessing).missing == (caveat,)
    # The discharge has a caveat of its own, for which there is to be one too.
    first = discharged(caveat, DISCHARGER, nested, Expiry(NOW + HOUR / 4))
    assert pod.agent.keep_for_peers(DB_PATTERN, blessing, first).missing == (nested,)
    both = Discharges((*first.entries, *discharged(nested).entries))
    assert pod.agent.keep_for_peers(DB_PATTERN, blessing, both).missing == ()
    shown = pod.agent.presentation(DB_NAME)
    assert shown.discharges == both
    verify_blessing(shown.blessing, DB.roots, now=NOW, policy=WITH_DELEGATION, discharges=shown.discharges)
    pod.clock.turn(minutes=15)
    assert pod.agent.presentation(DB_NAME).missing == (caveat,)


def test_a_renewal_ends_them_because_their_key_is_gone(pod: Pod) -> None:
    pod.agent.keep_for_peers(DB_PATTERN, granted())
    key = pod.renew()
    assert pod.agent.blessings().for_peers == ()
    assert refused(pod, granted()) == "OtherKey"
    pod.agent.keep_for_peers(DB_PATTERN, granted(key=key))


def test_a_remote_principal_sets_and_removes_them_and_keeps_its_default(pod: Pod) -> None:
    principal = RemotePrincipal(pod.agent)
    wanted = principal.blessings.with_peer(DB_PATTERN, granted())
    principal.set_blessings(wanted)
    assert principal.blessings == wanted
    principal.set_blessings(wanted.with_peer(DB_PATTERN, None))
    assert principal.blessings == BlessingStore(WEB.blessing)
    with pytest.raises(ReadOnly):
        principal.set_blessings(BlessingStore(granted()))


def test_attack_a_blessing_of_another_key_or_one_that_has_ended_is_not_kept(pod: Pod) -> None:
    assert refused(pod, DB.blessing) == "OtherKey"
    blessing = granted()
    pod.clock.turn(minutes=30)
    assert refused(pod, blessing) == "NotValidNow"
    assert pod.agent.blessings().for_peers == ()


def test_attack_a_discharge_that_another_key_signed_meets_nothing(pod: Pod) -> None:
    caveat = third_party()
    forged = discharged(caveat, Principal.create())
    assert pod.agent.keep_for_peers(DB_PATTERN, granted([caveat]), forged).missing == (caveat,)


def test_attack_a_program_of_the_pod_cannot_fill_the_pod_agents_memory(pod: Pod) -> None:
    for number in range(MOST_GRANTED):
        pod.agent.keep_for_peers(Pattern.parse(f"acme:peer-{number}"), granted())
    assert refused(pod, granted()) == "TooManyBlessings"
    pod.agent.keep_for_peers(Pattern.parse("acme:peer-0"), granted())  # in the place of one
    for number in range(MOST_GRANTED):
        pod.agent.forget_for_peers(Pattern.parse(f"acme:peer-{number}"))
    long = granted([Custom("example.com/long", "a" * 12_000)])
    reasons = []
    for number in range(MOST_GRANTED):
        try:
            pod.agent.keep_for_peers(Pattern.parse(f"acme:peer-{number}"), long)
        except AgentError as error:
            reasons.append(error.reason)
    assert set(reasons) == {"TooManyBlessings"}


def test_what_is_not_there_cannot_be_forgotten(pod: Pod) -> None:
    with pytest.raises(AgentError) as caught:
        pod.agent.forget_for_peers(DB_PATTERN)
    assert caught.value.reason == "NoSuchPattern"
