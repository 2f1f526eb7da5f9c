"""The phases of the JWT keys, by a fake clock over many lives, and in a real store with several replicas of
the agent."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import structlog

from blessings import InvalidJwt, Name, Principal
from blessings.jwt.keys import JwtKey, key_set
from blessings.jwt.svid import claims_of, signed, verified
from cluster_agent.audit import Record
from cluster_agent.errors import Conflict, StoreError, Unavailable
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from cluster_agent.jwt.rotation import LONGEST_TTL, MOST_KEYS, JwtKeySuccession, JwtSchedule
from cluster_agent.jwt.sealing import unseal
from cluster_agent.roots.rotation import Phase
from cluster_agent.signing.signed_states import SignedStates
from cluster_agent.store import Store
from cluster_agent.store.documents import SignedDocument
from tests.clock import Clock

ISSUING = Principal.create()
MARGIN, PUBLISHING = timedelta(minutes=2), timedelta(hours=24)
SCHEDULE = JwtSchedule(timedelta(days=30), PUBLISHING, MARGIN)
WEB, CHIEF = Name.parse("acme:prod:shop:web:web-1"), Name.parse("acme:administrator")


def keeper_of(store: Store, clock: Clock, schedule: JwtSchedule = SCHEDULE) -> JwtKeyKeeper:
    return JwtKeyKeeper(store.jwt_keys, ISSUING, schedule, clock)


def phases(keeper: JwtKeyKeeper) -> list[Phase]:
    return [one.phase for one in keeper.state.keys]


def token_of(keeper: JwtKeyKeeper, now: datetime) -> str:
    claims = claims_of(WEB, ["db"], issued_at=now, expires=now + LONGEST_TTL, token_id="1")
    return signed(claims, keeper.signing_key)


def seen_by(keeper: JwtKeyKeeper) -> dict[str, dict[str, JwtKey]]:
    """The keys as a verifier gets them."""
    return {"spiffe://acme": key_set(keeper.state.jwks())}


async def test_a_key_is_published_before_it_signs_and_until_its_last_token_has_expired(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock)
    await keeper.start()
    assert phases(keeper) == [Phase.ACTIVE]
    old = keeper.state.active.key_id
    clock.turn(days=30)
    await keeper.look()
    await keeper.lead()
    assert phases(keeper) == [Phase.ACTIVE, Phase.PREPARED]
    assert keeper.state.active.key_id == old
    published, last_by_old = seen_by(keeper), ""
    clock.turn(seconds=(PUBLISHING + MARGIN).total_seconds() - 1)
    await keeper.look()
    await keeper.lead()
    last_by_old = token_of(keeper, clock())
    clock.turn(seconds=1)
    await keeper.lead()
    assert phases(keeper) == [Phase.RETIRING, Phase.ACTIVE]
    first_by_new = token_of(keeper, clock())
    for token in (last_by_old, first_by_new):
        for keys in (published, seen_by(keeper)):
            assert verified(token, "db", keys, clock()).name == WEB
    clock.turn(seconds=(LONGEST_TTL + MARGIN).total_seconds())
    await keeper.look()
    await keeper.lead()
    assert phases(keeper) == [Phase.ACTIVE]
    with pytest.raises(InvalidJwt, match="does not have"):
        verified(last_by_old, "db", seen_by(keeper), clock() - LONGEST_TTL)


async def test_over_many_rotations_every_token_is_valid_to_every_verifier_until_it_expires(
    store: Store,
) -> None:
    """Verifiers hold a key set for as long as a key is published before it signs; two replicas of the agent
    sign, of which one at a time leads, and the other's view is as old as it may be."""
    clock, chance = Clock(), random.Random(7)
    schedule = JwtSchedule(timedelta(minutes=30), timedelta(minutes=30), MARGIN)
    replicas = [keeper_of(store, clock, schedule) for _ in range(2)]
    for one in replicas:
        await one.start()
    held: list[tuple[datetime, dict[str, dict[str, JwtKey]]]] = []
    tokens: list[tuple[datetime, str]] = []
    for _ in range(360):
        clock.turn(seconds=60)
        leader = chance.choice(replicas)
        await leader.look()
        await leader.lead()
        for one in replicas:
            try:
                tokens.append((clock(), token_of(one, clock())))
                held.append((clock(), seen_by(one)))
            except Unavailable:
                await one.look()
        held = [(at, keys) for at, keys in held if clock() - at <= schedule.publishing]
        tokens = [(at, token) for at, token in tokens if clock() - at < LONGEST_TTL]
        for _, keys in (held[0], held[-1], chance.choice(held)):
            for _, token in (tokens[0], tokens[-1], chance.choice(tokens)):
                verified(token, "db", keys, clock())
    assert replicas[0].version > 12, "no rotations happened"
    assert len(replicas[0].state.keys) <= 4


async def test_two_replicas_that_start_together_have_the_same_keys(store: Store) -> None:
    clock = Clock()
    first, second = keeper_of(store, clock), keeper_of(store, clock)
    await first.start()
    await second.start()
    assert first.state == second.state
    verified(token_of(first, clock()), "db", seen_by(second), clock())
    # Both take the same step; one of them is second.
    clock.turn(days=30)
    await first.look()
    await second.look()
    await first.lead()
    await second.lead()
    await second.look()
    assert first.state == second.state
    assert phases(first) == [Phase.ACTIVE, Phase.PREPARED]


async def test_an_administrator_rotates_early_or_at_once(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock, replace(SCHEDULE, every=None))
    await keeper.start()
    await keeper.rotate(at_once=False, by=CHIEF)
    assert phases(keeper) == [Phase.ACTIVE, Phase.PREPARED]
    with pytest.raises(Conflict, match="prepared already"):
        await keeper.rotate(at_once=False, by=CHIEF)
    leaked = token_of(keeper, clock())
    await keeper.rotate(at_once=True, by=CHIEF)
    assert phases(keeper) == [Phase.ACTIVE]
    with pytest.raises(InvalidJwt):
        verified(leaked, "db", seen_by(keeper), clock())
    described = await keeper.describe()
    assert [one["phase"] for one in described["keys"]] == [Phase.ACTIVE]


async def test_the_key_set_is_bounded(store: Store) -> None:
    """Also where the interval is shorter than a retiring key stays."""
    clock = Clock()
    hasty = JwtSchedule(timedelta(seconds=1), timedelta(seconds=1), timedelta(seconds=60))
    keeper = keeper_of(store, clock, hasty)
    await keeper.start()
    for _ in range(200):
        clock.turn(seconds=30)
        await keeper.look()
        await keeper.lead()
        assert len(keeper.state.keys) <= MOST_KEYS


async def test_a_clock_that_was_ahead_delays_nothing_for_long(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock)
    clock.turn(days=300)
    await keeper.start()
    clock.turn(days=-300)
    await keeper.look()
    await keeper.lead()
    assert keeper.state.active.since == clock()


async def test_attack_a_database_that_is_read_reveals_no_key(store: Store) -> None:
    keeper = keeper_of(store, Clock())
    await keeper.start()
    row = await store.jwt_keys.read()
    assert row is not None
    active = keeper.state.active
    private = keeper.signing_key.to_pem()
    assert private.splitlines()[1].decode() not in row.document
    with pytest.raises(StoreError, match="cannot be read"):
        unseal(active.sealed, active.key_id, Principal.create())
    with pytest.raises(StoreError, match="cannot be read"):
        unseal(active.sealed, "another", ISSUING)


async def test_attack_a_program_that_writes_to_the_database_adds_no_key(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock)
    await keeper.start()
    row = await store.jwt_keys.read()
    assert row is not None
    stranger = Principal.create()
    evil = JwtKeyKeeper(store.jwt_keys, stranger, SCHEDULE, clock)
    state = JwtKeySuccession.begin(evil._new_key(clock()))
    forged = replace(
        SignedStates("JWT keys", JwtKeySuccession.from_json).signed(state, stranger), version=row.version + 1
    )
    await store.jwt_keys.replace(row.version, forged, Record("forged", clock()))
    with pytest.raises(StoreError, match="not put there by a cluster agent"):
        await keeper.look()
    assert keeper.state.version == row.version


async def test_attack_an_old_state_that_is_put_back(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock)
    await keeper.start()
    old = await store.jwt_keys.read()
    assert old is not None
    await keeper.rotate(at_once=True, by=CHIEF)
    await store.jwt_keys.replace(2, SignedDocument(old.version, old.document, old.signature))
    with structlog.testing.capture_logs() as logs:
        await keeper.look()
    assert "older JWT keys not taken up" in [one["event"] for one in logs]
    assert keeper.version == 2
    clock.turn(seconds=MARGIN.total_seconds())
    with pytest.raises(Unavailable, match="too long ago"):
        token_of(keeper, clock())


async def test_a_store_that_does_not_answer_ends_signing_after_a_while(store: Store) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock)
    await keeper.start()
    clock.turn(seconds=SCHEDULE.view.total_seconds() + 1)
    with pytest.raises(Unavailable, match="read too long ago"):
        _ = keeper.signing_key
    with pytest.raises(Unavailable, match="read too long ago"):
        keeper.after(0)
