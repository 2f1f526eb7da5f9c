"""Answers that cannot be used, and how many certificates they cost: clocks that differ for a day, and a
cluster agent that answers with what was not asked for."""

from __future__ import annotations

import pytest

from blessings import Authority, Name, Principal, Roots
from pod_agent.careful_seeker import CarefulSeeker
from pod_agent.errors import ClocksDiffer, Untrustworthy
from pod_agent.identity import Identity
from pod_agent.seeker import Answer, Unjudged
from tests.chains import HOUR, NOW, YEAR
from tests.clock import Clock

APPLICATION = Name.parse("acme:prod:shop:web")
# What the cluster agent allows one Pod, of the full life.
MOST = 16


class Source:
    """A cluster agent with a clock of its own; `names` the Pod."""

    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.root = Authority.create_root(
            Name.parse("acme"), Principal.create(), now=NOW - YEAR, lifetime=2 * YEAR
        )
        self.pod = "web-1"
        self.asked: list[float] = []
        self.readable = True

    async def ask(self, current: Identity | None) -> Unjudged:
        now = self.clock()
        self.asked.append((now - NOW).total_seconds())
        if not self.readable:
            raise Untrustworthy("AnswerTooLong", "too long")
        principal = Principal.create()
        blessing = self.root.bless(principal.public_key, f"prod:shop:web:{self.pod}", now=now, lifetime=HOUR)
        document = {"chain": blessing.to_pem(), "roots": Roots.of(self.root.certificate).to_json()}
        return Unjudged(document, principal, APPLICATION)

    async def reach(self) -> None:
        """It is always there."""

    def most_in_an_hour(self) -> int:
        return max(sum(begin <= one < begin + 3600 for one in self.asked) for begin in self.asked)


class World:
    """A pod agent whose clock differs from the cluster agent's by `hours`, and tries every half minute."""

    def __init__(self, hours: float) -> None:
        self.source = Source()
        self.hours = hours
        self.seeker = CarefulSeeker(
            self.source,
            now=lambda: self.source.clock() + self.hours * HOUR,
            clock=lambda: self.source.clock().timestamp(),
            chance=lambda: 0.5,
        )

    async def run(self, hours: float) -> list[Answer | str]:
        found: list[Answer | str] = []
        for _ in range(round(hours * 120)):
            try:
                found.append(await self.seeker.seek(None))
            except (ClocksDiffer, Untrustworthy) as error:
                found.append(error.reason)
            self.source.clock.turn(seconds=30)
        return found


@pytest.mark.parametrize("hours", [2, -2])
async def test_a_clock_that_is_wrong_for_a_day_does_not_lock_the_pod_out(hours: float) -> None:
    world = World(hours)
    assert set(await world.run(24)) == {"ClocksDiffer"}
    assert 24 < len(world.source.asked) < 24 * MOST
    assert world.source.most_in_an_hour() <= MOST


@pytest.mark.parametrize("hours", [2, -2])
async def test_an_answer_that_only_the_clock_refused_is_used_when_the_clock_is_right(hours: float) -> None:
    world = World(hours)
    await world.run(1)
    asked = len(world.source.asked)
    world.hours = 0
    answer = (await world.run(1 / 120))[0]
    assert isinstance(answer, Answer)
    assert str(answer.name) == "acme:prod:shop:web:web-1"
    assert len(world.source.asked) == asked, "it cost no further certificate"
    assert isinstance((await world.run(1 / 120))[0], Answer)
    assert len(world.source.asked) == asked + 1, "a renewal is another one"


@pytest.mark.parametrize("readable", [True, False])
async def test_an_answer_that_is_not_what_was_asked_for_is_not_kept_and_not_asked_for_again_at_once(
    readable: bool,
) -> None:
    world = World(0)
    world.source.pod = "web-1:more"
    world.source.readable = readable
    reasons = await world.run(24)
    assert set(reasons) == {"OtherName" if readable else "AnswerTooLong"}
    assert world.source.most_in_an_hour() <= MOST
    world.source.pod, world.source.readable = "web-1", True
    assert any(isinstance(one, Answer) for one in await world.run(0.25))
