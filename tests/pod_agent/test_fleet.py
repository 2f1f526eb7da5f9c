"""Two hundred keepers under clocks that the test turns: an outage of half a life, and stepped clocks.

Their cluster agent is a double that signs. `python -m tests.bench.outage` does the same with real programs.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from blessings import Authority, Name, Principal, Roots
from pod_agent.careful_seeker import CarefulSeeker
from pod_agent.errors import Unreachable
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.keeper import Keeper
from pod_agent.seeker import Unjudged
from service.supervisor import Supervisor
from tests.chains import NOW
from tests.clock import Clock
from tests.log_lines import captured_lines
from tests.pod_agent.test_keeper import APPLICATION, Results

REPLICAS = 200
STEP = timedelta(minutes=1)
ROOT = Authority.create_root(Name.parse("acme"), Principal.create(), now=NOW, lifetime=timedelta(days=9))
AGENT = Principal.create()
AUTHORITY = Authority(
    AGENT, ROOT.grant(AGENT.public_key, "prod:shop:web", now=NOW, lifetime=timedelta(days=8))
)
ROOTS = Roots.of(ROOT.certificate)


class ClusterAgent:
    """Signs by its own clock, unless it is away."""

    def __init__(self, life: timedelta, is_away: Callable[[datetime], bool] = lambda _: False) -> None:
        self.life = life
        self.is_away = is_away
        self.ahead: Callable[[datetime], timedelta] = lambda _: timedelta(0)
        self.issued: list[datetime] = []


class Replica:
    """A keeper with its node's clock, from `start` on. Each of its sleeps turns the time."""

    def __init__(self, agent: ClusterAgent, start: datetime, seed: int) -> None:
        self.agent = agent
        self.time = Clock(start)
        self.ahead: Callable[[datetime], timedelta] = lambda _: timedelta(0)
        self.chance = random.Random(seed).random
        self.current = CurrentIdentity(self.now)
        self.rounds = 0
        self.lapses = 0

    def now(self) -> datetime:
        return self.time() + self.ahead(self.time())

    def seconds(self) -> float:
        """The monotonic clock, which nobody steps."""
        return self.time().timestamp()

    async def ask(self, _current: Identity | None) -> Unjudged:
        await self.reach()
        self.agent.issued.append(self.time())
        principal = Principal.create()
        now = self.time() + self.agent.ahead(self.time())
        blessing = AUTHORITY.bless(principal.public_key, "web-1", now=now, lifetime=self.agent.life)
        return Unjudged({"chain": blessing.to_pem(), "roots": ROOTS.to_json()}, principal, APPLICATION)

    async def reach(self) -> None:
        if self.agent.is_away(self.time()):
            raise Unreachable("Unreachable", "away")

    async def run(self, until: datetime) -> None:
        async def sleep(seconds: float) -> None:
            if self.time() >= until:
                raise asyncio.CancelledError
            self.time.turn(seconds=seconds)
            self.rounds += 1
            self.lapses += self.rounds > 1 and self.current.value is None

        seeker = CarefulSeeker(self, now=self.now, clock=self.seconds, chance=self.chance)
        keeper = Keeper(seeker, self.current, Results(), now=self.now, chance=self.chance)
        task = keeper.task()
        supervisor = Supervisor([task], clock=self.seconds, chance=self.chance, sleep=sleep)
        with captured_lines(), pytest.raises(asyncio.CancelledError):
            await supervisor.repeat(task)


def step(by: timedelta, at: datetime) -> Callable[[datetime], timedelta]:
    """How far a clock is ahead that is stepped `by` this at that time."""
    return lambda now: by if now >= at else timedelta(0)


def most_within(times: Sequence[datetime], window: timedelta) -> int:
    ordered = sorted(times)
    first, most = 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("minutes", [5, 60])
async def test_after_an_outage_of_half_a_life_no_replica_lapsed_and_there_is_no_crowd(minutes: int) -> None:
    life = timedelta(minutes=minutes)
    begin, end = NOW + 1.2 * life, NOW + 1.7 * life
    agent = ClusterAgent(life, lambda now: begin <= now < end)
    starts = random.Random(minutes)
    fleet = [Replica(agent, NOW + life * starts.random(), seed) for seed in range(REPLICAS)]
    for replica in fleet:
        await replica.run(NOW + 2.5 * life)
    assert sum(replica.lapses for replica in fleet) == 0
    window = life / 10
    mean = REPLICAS * (window / (0.4375 * life))
    assert most_within([time for time in agent.issued if time >= end], window) <= 3 * mean
    assert max(replica.rounds for replica in fleet) < 60 + 2.5 * life / timedelta(seconds=15)


@pytest.mark.parametrize("minutes", [5, 60])
@pytest.mark.parametrize("node", [-STEP, 0 * STEP, STEP])
@pytest.mark.parametrize("cluster_agent", [-STEP, 0 * STEP, STEP])
async def test_stepped_clocks_cause_neither_a_lapse_nor_a_crowd_nor_a_spin(
    minutes: int, node: timedelta, cluster_agent: timedelta
) -> None:
    life = timedelta(minutes=minutes)
    for at in (0.1, 1.3, 1.7):  # soon after the first identity, and at any time
        agent = ClusterAgent(life)
        replica = Replica(agent, NOW, seed=minutes)
        replica.ahead, agent.ahead = step(node, NOW + at * life), step(cluster_agent, NOW + at * life)
        await replica.run(NOW + 5 * life)
        assert replica.lapses == 0
        # Clocks that differ take their difference from each certificate's life.
        lived = life - max(node - cluster_agent, timedelta(0))
        assert len(agent.issued) <= 5 * life / (0.4 * lived) + 5
        assert replica.rounds < 60 + 5 * life / timedelta(seconds=15)
