"""Attestation when the API server is slow, and when there are more tokens than it takes."""

from __future__ import annotations

import asyncio

import pytest

from cluster_agent.attestation import AttestedPod
from cluster_agent.attestation.bounded import BoundedAttestor
from cluster_agent.errors import TooManyRequests, Unavailable

POD = AttestedPod("shop", "web", "web-1", "uid-1")


class SlowAttestor:
    """Answers when it is let; a double of an API server that hangs."""

    kind = "token-review"
    waiting = 0

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
    tasks = [asyncio.create_task(bounded.attest("token")) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests, match="3 tokens wait") as caught:
        await bounded.attest("token")
    assert caught.value.limit == "token-reviews"
    slow.answer.set()
    assert await asyncio.gather(*tasks) == [POD] * 5
    assert slow.most_under_review == 2
    assert await bounded.attest("token") == POD


async def test_who_waits_longer_than_the_deadline_is_told_so_and_leaves_room() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=1, seconds=0.01)
    outcomes = await asyncio.gather(*(bounded.attest("token") for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in outcomes] == [Unavailable, Unavailable]
    assert slow.under_review == 0
    slow.answer.set()
    assert list(await asyncio.gather(*(bounded.attest("token") for _ in range(2)))) == [POD] * 2


async def test_who_goes_away_while_waiting_leaves_room() -> None:
    slow = SlowAttestor()
    bounded = BoundedAttestor(slow, at_a_time=1, most_waiting=1)
    first = asyncio.create_task(bounded.attest("token"))
    await asyncio.sleep(0)
    gone = asyncio.create_task(bounded.attest("token"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    after = asyncio.create_task(bounded.attest("token"))
    await asyncio.sleep(0)
    slow.answer.set()
    assert list(await asyncio.gather(*[first, after])) == [POD] * 2
