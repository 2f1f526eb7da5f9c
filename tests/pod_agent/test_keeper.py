"""Renewal over many lifetimes, turned by a fake clock. The seeker is a double that signs with real keys."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from blessings import Authority, Blessing, Expiry, Name, Principal, Roots
from blessings.errors import BlessingsError
from pod_agent.credential import parse_credential
from pod_agent.errors import ClocksDiffer, NotMounted, Refused, SeekError, Unreachable, Untrustworthy
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.keeper import Keeper
from pod_agent.renewal import renewal_time
from pod_agent.seeker import Answer, believe
from service.supervisor import Supervisor
from tests.chains import NOW, realm
from tests.clock import Clock
from tests.log_lines import captured_lines
from tests.waiting import PATIENCE_SECONDS

TTL = timedelta(hours=1)
APPLICATION = Name.parse("acme:prod:shop:web")


class SigningSeeker:
    """Blesses by an authority in memory; `fails` may raise instead."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.root = Authority.create_root(
            Name.parse("acme"), Principal.create(), now=NOW, lifetime=timedelta(days=3650)
        )
        self.renewed: list[bool] = []
        self.fails: Callable[[], Exception | None] = lambda: None

    async def seek(self, current: Identity | None) -> Answer:
        if error := self.fails():
            raise error
        self.renewed.append(current is not None)
        principal = Principal.create()
        blessing = self.root.bless(
            principal.public_key, "prod:shop:web:web-1", now=self.clock(), lifetime=TTL
        )
        return Answer(principal, blessing, blessing.presented, Roots.of(self.root.certificate))

    async def reach(self) -> None:
        if isinstance(error := self.fails(), Unreachable):
            raise error


class Results:
    """An observer that counts."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def sought(self, result: str) -> None:
        self.counted[result] += 1

    def served(self) -> None:
        self.counted["served"] += 1

    def expired(self) -> None:
        self.counted["expired"] += 1


class World:
    """A keeper whose sleeps turn the clock, until `until`."""

    def __init__(self, until: timedelta) -> None:
        self.clock = Clock(NOW)
        self.end = NOW + until
        self.seeker = SigningSeeker(self.clock)
        self.results = Results()
        self.current = CurrentIdentity(self.clock)
        self.gaps = timedelta(0)
        self.problem: str | None = None

    async def sleep(self, seconds: float) -> None:
        if self.clock() >= self.end:
            raise asyncio.CancelledError
        if self.current.value is None:
            self.gaps += timedelta(seconds=seconds)
        self.clock.turn(seconds=seconds)
        await asyncio.sleep(0)

    async def run(self, chance: float = 0.5) -> None:
        keeper = Keeper(self.seeker, self.current, self.results, now=self.clock, chance=lambda: chance)
        task = keeper.task()
        supervisor = Supervisor(
            [task], clock=lambda: self.clock().timestamp(), chance=lambda: chance, sleep=self.sleep
        )
        with captured_lines(), pytest.raises(asyncio.CancelledError):
            await supervisor.repeat(task)
        self.problem = supervisor.problem()


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
async def test_over_a_week_it_renews_at_half_life_and_is_never_without(chance: float) -> None:
    world = World(timedelta(days=7))
    await world.run(chance)
    assert world.gaps == timedelta(0)
    assert 7 * 24 * 2 / 0.96 <= world.results.counted["Blessed"] <= 7 * 24 * 2 / 0.79
    assert world.seeker.renewed[0] is False
    assert all(world.seeker.renewed[1:])


async def test_an_outage_of_half_a_life_goes_unnoticed_and_a_longer_one_ends_by_itself() -> None:
    world = World(timedelta(hours=12))
    away = (NOW + timedelta(hours=2), NOW + timedelta(hours=5))

    def fails() -> SeekError | None:
        is_away = away[0] <= world.clock() < away[1]
        return Unreachable("Unreachable", "away") if is_away else None

    world.seeker.fails = fails
    await world.run()
    assert timedelta(hours=1, minutes=55) < world.gaps < timedelta(hours=2, minutes=35)
    assert world.results.counted["Unreachable"] > 100
    assert world.current.value is not None


async def test_a_refused_renewal_starts_over_with_the_credential() -> None:
    world = World(timedelta(hours=2))
    refusals = [Refused("SecretForgotten", "gone")]
    world.seeker.fails = lambda: refusals.pop() if refusals and world.current.value is not None else None
    await world.run()
    assert world.seeker.renewed[:3] == [False, False, True]


async def test_a_refused_renewal_starts_over_although_the_next_attempt_finds_nobody() -> None:
    world = World(timedelta(hours=2))
    failures: list[SeekError] = [Unreachable("Unreachable", "away"), Refused("SecretForgotten", "gone")]
    world.seeker.fails = lambda: failures.pop() if failures and world.current.value is not None else None
    await world.run()
    assert world.seeker.renewed[:3] == [False, False, True]


async def test_a_defect_neither_ends_it_nor_takes_what_it_has() -> None:
    world = World(timedelta(hours=2))
    defects = [OSError("too many open files") for _ in range(3)]
    world.seeker.fails = lambda: defects.pop() if defects and world.current.value is not None else None
    await world.run()
    assert not defects
    assert world.gaps == timedelta(0)
    assert world.results.counted["Blessed"] >= 3
    assert world.problem is None


async def test_a_defect_that_stays_turns_readiness_and_an_absent_cluster_agent_does_not() -> None:
    world = World(timedelta(minutes=45))
    error = OSError("too many open files")
    world.seeker.fails = lambda: error if world.current.value is not None else None
    await world.run()
    assert world.problem is not None
    assert world.problem.startswith("the background task identity has not worked for")
    world = World(timedelta(minutes=45))
    away = Unreachable("Unreachable", "away")
    world.seeker.fails = lambda: away if world.current.value is not None else None
    await world.run()
    assert world.problem is None


async def test_watchers_see_every_identity_and_end_with_the_holder() -> None:
    clock = Clock(NOW)
    seeker, current = SigningSeeker(clock), CurrentIdentity(clock)
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def watch() -> None:
        async for identity in current.changes():
            await seen.put(identity.version)

    watching = asyncio.create_task(watch())
    for version in (1, 2, 3):
        answer = await seeker.seek(None)
        await current.set(
            Identity(version, answer.principal, answer.blessing, answer.name, answer.roots, clock())
        )
        assert await asyncio.wait_for(seen.get(), PATIENCE_SECONDS) == version
    await current.close()
    await watching
    assert seen.empty()


async def test_roots_that_arrive_during_a_renewal_stay_in_force_after_it() -> None:
    world = World(timedelta(hours=1))
    keeper = Keeper(world.seeker, world.current, world.results, now=world.clock, chance=lambda: 0.5)
    await keeper.round()
    assert world.current.value is not None
    newer = world.current.value.roots + realm().roots
    seek = world.seeker.seek

    async def seek_slowly(current: Identity | None) -> Answer:
        answer = await seek(current)
        await world.current.set_roots(newer)
        return answer

    world.seeker.seek = seek_slowly  # type: ignore[method-assign]
    world.clock.turn(minutes=40)
    await keeper.round()
    assert world.current.value.version == 2
    assert world.current.value.roots == newer


async def test_an_identity_made_by_clocks_that_were_ahead_is_renewed_as_soon_as_they_are_right() -> None:
    world = World(timedelta(hours=1))
    keeper = Keeper(world.seeker, world.current, world.results, now=world.clock, chance=lambda: 0.5)
    world.clock.turn(hours=2)
    await keeper.round()
    world.clock.turn(hours=-2)
    await keeper.round()
    await keeper.round()
    assert world.current.value is not None
    assert world.current.value.blessing.not_before <= world.clock()
    assert world.results.counted["Blessed"] == 2


async def test_an_expired_identity_is_withdrawn_counted_and_logged_once() -> None:
    world = World(timedelta(hours=1))
    keeper = Keeper(world.seeker, world.current, world.results, now=world.clock, chance=lambda: 0.5)
    await keeper.round()
    stream = world.current.revisions()
    assert (await anext(stream))[0].version == 1
    waiting = asyncio.ensure_future(anext(stream))
    with captured_lines() as logs:
        world.clock.turn(minutes=59)
        await keeper.expire()
        assert logs == []
        world.clock.turn(minutes=1)
        await keeper.expire()
        await keeper.expire()
    with pytest.raises(StopAsyncIteration):
        await waiting
    assert [line["event"] for line in logs] == ["identity expired"]
    assert world.results.counted["expired"] == 1


@pytest.mark.parametrize(("chance", "minutes"), [(0.0, 28.5), (1.0, 24)])
def test_renewal_is_a_little_before_half_of_what_is_left(chance: float, minutes: float) -> None:
    assert renewal_time(NOW, NOW + TTL, chance) == NOW + timedelta(minutes=minutes)


def answer_of(blessing: Blessing, root: Authority) -> dict[str, object]:
    return {"chain": blessing.to_pem(), "roots": Roots.of(root.certificate).to_json()}


def rejected(document: dict[str, object], principal: Principal, current: Identity | None = None) -> str:
    with pytest.raises((Untrustworthy, ClocksDiffer)) as caught:
        believe(document, principal, APPLICATION, current, NOW)
    return caught.value.reason


def test_attack_a_chain_with_caveats_does_not_become_an_svid() -> None:
    root = SigningSeeker(Clock(NOW)).root
    principal, caveats = Principal.create(), [Expiry(NOW + TTL)]
    restricted = root.bless(principal.public_key, "prod:shop:web:w", now=NOW, lifetime=TTL, caveats=caveats)
    assert rejected(answer_of(restricted, root), principal) == "NotAnSvid"
    agent = Principal.create()
    granted = root.grant(agent.public_key, "prod:shop:web", now=NOW, lifetime=TTL, caveats=caveats)
    below = Authority(agent, granted).bless(principal.public_key, "w", now=NOW, lifetime=TTL)
    assert rejected(answer_of(below, root), principal) == "NotAnSvid"


def test_attack_answers_that_are_not_what_was_asked_for_are_not_believed() -> None:
    seeker = SigningSeeker(Clock(NOW))
    principal, other = Principal.create(), Principal.create()

    def blessing(key: Principal, name: str, now: datetime = NOW) -> Blessing:
        return seeker.root.bless(key.public_key, name, now=now, lifetime=TTL)

    good = blessing(principal, "prod:shop:web:web-1")
    answer = believe(answer_of(good, seeker.root), principal, APPLICATION, None, NOW)
    assert str(answer.name) == "acme:prod:shop:web:web-1"
    current = Identity(1, principal, good, answer.name, answer.roots, NOW)

    assert rejected(answer_of(blessing(other, "prod:shop:web:web-1"), seeker.root), principal) == "OtherKey"
    for name in ("prod:shop:admin:web-1", "prod:shop:web", "prod:shop:web:web-1:more", "prod:shop:website:w"):
        assert rejected(answer_of(blessing(principal, name), seeker.root), principal) == "OtherName"
    assert (
        rejected(answer_of(blessing(principal, "prod:shop:web:web-2"), seeker.root), principal, current)
        == "OtherName"
    )
    stranger = SigningSeeker(Clock(NOW)).root
    assert rejected(answer_of(good, stranger), principal) == "ChainInvalid"
    late = NOW - timedelta(hours=2)
    assert (
        rejected(
            answer_of(blessing(principal, "prod:shop:web:w", late + timedelta(hours=3)), seeker.root),
            principal,
        )
        == "ClocksDiffer"
    )
    malformed: list[dict[str, object]] = [
        {},
        {"chain": "x", "roots": []},
        {"chain": good.to_pem()},
        {"chain": 7, "roots": 7},
    ]
    for document in malformed:
        assert rejected(document, principal) == "AnswerMalformed"


def no_roots() -> str:
    raise NotMounted("NotMounted", "cannot read roots.pem beside the credential")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 3}', '{"version": 1, "application": "x"}', "null"]
)
def test_a_damaged_credential_is_named_without_its_content(text: str) -> None:
    with pytest.raises(NotMounted, match="credential") as caught:
        parse_credential(text, no_roots)
    assert not isinstance(caught.value, BlessingsError)


def test_a_credential_whose_key_does_not_match_is_named() -> None:
    chain, other = realm(), Principal.create()
    document = {
        "version": 1,
        "application": str(chain.application.name),
        "privateKey": other.to_pem().decode(),
        "certificateChain": chain.application.blessing.to_pem(),
        "clusterAgentRoots": chain.roots.to_pem(),
    }
    with pytest.raises(NotMounted, match="do not belong together") as caught:
        parse_credential(json.dumps(document), no_roots)
    assert caught.value.reason == "BadCredential"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version":' * 50_000])
def test_attack_a_deeply_nested_credential_is_one_that_cannot_be_used(text: str) -> None:
    with pytest.raises(NotMounted, match="cannot be used"):
        parse_credential(text, no_roots)
