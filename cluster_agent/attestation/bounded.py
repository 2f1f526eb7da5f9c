"""Attestation with limits: how many tokens are reviewed at once, how many wait, and a deadline for both.

With them, a slow API server or a flood of tokens leads to quick refusals, and affects nothing else. Tenants
have turns one after the other, and one namespace (the first part of a tenant) has at most half of the
reviews: another one waits neither behind a flood, nor until slow reviews end.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol, TypeAlias

from cluster_agent.attestation import AttestedPod
from cluster_agent.errors import TooManyRequests, Unavailable
from cluster_agent.fair_queue import FairQueue, Tenant

REVIEW_SECONDS = 5.0
_Turn: TypeAlias = "asyncio.Future[None]"


class Reviewer(Protocol):
    """An attestor without limits of its own."""

    @property
    def kind(self) -> str: ...

    async def attest(self, token: str) -> AttestedPod: ...


class BoundedAttestor:
    """Asks `reviewer` about at most `at_a_time` tokens at once, and lets `most_waiting` more wait."""

    def __init__(
        self, reviewer: Reviewer, *, at_a_time: int, most_waiting: int, seconds: float = REVIEW_SECONDS
    ) -> None:
        self._reviewer = reviewer
        self._at_a_time = at_a_time
        self._most_of_one = max(1, at_a_time // 2)
        self._waiting: FairQueue[tuple[_Turn, str]] = FairQueue(most_waiting)
        # By the first part of the tenant.
        self._under_review: Counter[str] = Counter()
        self._seconds = seconds

    @property
    def kind(self) -> str:
        return self._reviewer.kind

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def attest(self, token: str, tenant: Tenant) -> AttestedPod:
        """As the reviewer. Also raises TooManyRequests, and Unavailable after the deadline."""
        first = tenant[0]
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn(first, tenant)
                try:
                    return await self._reviewer.attest(token)
                finally:
                    self._end_turn(first)
        except TimeoutError as error:
            raise Unavailable(
                "AttestationTimeout", f"the token was not reviewed within {self._seconds:g} s"
            ) from error

    async def _turn(self, first: str, tenant: Tenant) -> None:
        if self._is_free() and self._may(first):
            self._under_review[first] += 1
            return
        turn: _Turn = asyncio.get_running_loop().create_future()
        yielding = self._waiting.put((turn, first), tenant)
        if yielding is not None:
            yielding[0].set_exception(
                TooManyRequests(
                    "AttestationBusy",
                    f"{len(self._waiting)} tokens wait for review; try again",
                    limit="token-reviews",
                )
            )
        try:
            await turn
        except asyncio.CancelledError:
            was_given = turn.done() and not turn.cancelled() and turn.exception() is None
            if not self._waiting.remove((turn, first), tenant) and was_given:
                self._end_turn(first)
            raise

    def _end_turn(self, first: str) -> None:
        self._under_review[first] -= 1
        if not self._under_review[first]:
            del self._under_review[first]
        while self._is_free():
            waiting = self._waiting.take(self._may)
            if waiting is None:
                return
            turn, of = waiting
            if not turn.done():  # its caller has not gone
                self._under_review[of] += 1
                turn.set_result(None)

    def _is_free(self) -> bool:
        return self._under_review.total() < self._at_a_time

    def _may(self, first: str) -> bool:
        return self._under_review[first] < self._most_of_one
