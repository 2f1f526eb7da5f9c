"""Attestation when the API server is slow, and when there are more tokens than it takes."""

from __future__ import annotations

import asyncio

import pytest

from cluster_agent.attestation import AttestedPod
from cluster_agent.attestation.bounded import BoundedAttestor
from cluster_agent.errors import TooManyRequests, Unavailable
from tests.waiting import PATIENCE_SECONDS

POD = AttestedPod("shop", "web", "web-1", "uid-1")
WEB = ("shop", "web", "vanadium-bootstrap:0123")
OTHER = ("bank", "teller", "acme:prod:bank:teller:teller-1")


class SlowAttestor:
    """Answers when it is let; a double of an API server that hangs."""

    kind = "token-review"

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.under_review = 0
        self.most_under_review = 0

    async def attest(self, token: str) -> AttestedPod:
        self.under_review += 1
        self.most_under_review = max(self.most_under_review, self.under_review)
        try:
            await self.answer.wait()
        finally:
            self.under_review -= 1
        return POD


async def test_so_many_at_a_time_and_so_many_waiting_and_no_more() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=2, most_waiting=3)
    tasks = [asyncio.create_task(bounded.attest("token", tenant)) for tenant in (OTHER, *[WEB] * 4)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="3 tokens wait") as caught:
        await bounded.attest("token", WEB)
    assert caught.value.limit == "token-reviews"
    slow.answer.set()
    assert await asyncio.gather(*tasks) == [POD] * 5
    assert slow.most_under_review == 2
    assert await bounded.attest("token", WEB) == POD


async def test_who_waits_longer_than_the_deadline_is_told_so_and_leaves_room() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=1, seconds=0.01)
    outcomes = await asyncio.gather(*(bounded.attest("token", WEB) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in outcomes] == [Unavailable, Unavailable]
    assert slow.under_review == 0
    slow.answer.set()
    bounded._seconds = PATIENCE_SECONDS
    assert list(await asyncio.gather(*(bounded.attest("token", WEB) for _ in range(2)))) == [POD] * 2


async def test_who_goes_away_while_waiting_leaves_room() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=1)
    first = asyncio.create_task(bounded.attest("token", WEB))
    await asyncio.sleep(0)
    gone = asyncio.create_task(bounded.attest("token", WEB))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    after = asyncio.create_task(bounded.attest("token", WEB))
    await asyncio.sleep(0)
    slow.answer.set()
    assert list(await asyncio.gather(*[first, after])) == [POD] * 2


async def test_attack_slow_reviews_of_one_namespace_leave_reviews_to_the_others() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=4, most_waiting=100)
    flood = [
        asyncio.create_task(bounded.attest("junk", ("shop", f"account-{number}"))) for number in range(50)
    ]
    await asyncio.sleep(0)
    assert (slow.under_review, bounded.waiting) == (2, 48)
    others = [asyncio.create_task(bounded.attest("token", OTHER)) for _ in range(2)]
    await asyncio.sleep(0)
    assert (slow.under_review, bounded.waiting) == (4, 48)
    slow.answer.set()
    assert await asyncio.gather(*flood, *others) == [POD] * 52


async def test_attack_a_full_queue_turns_away_the_namespace_that_fills_it() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=10)
    flood = [asyncio.create_task(bounded.attest("junk", WEB)) for _ in range(11)]
    await asyncio.sleep(0)
    others = [asyncio.create_task(bounded.attest("token", OTHER)) for _ in range(3)]
    await asyncio.sleep(0)
    assert bounded.waiting == 10
    slow.answer.set()
    assert await asyncio.gather(*others) == [POD] * 3
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert [one for one in outcomes if one != POD] == [outcomes[10], outcomes[9], outcomes[8]][::-1]
    assert all(isinstance(one, TooManyRequests) for one in outcomes[8:])


async def test_a_turn_that_is_given_to_who_just_went_away_goes_to_the_next() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=10)
    first, gone, after = (asyncio.create_task(bounded.attest("token", WEB)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gone.cancel()  # it has its turn and does not know yet
    slow.answer.set()
    assert await after == POD
    assert bounded.waiting == 0
