"""Attestation with limits: how many tokens are reviewed at once, how many wait, and a deadline for both.

With them, a slow API server or a flood of tokens leads to quick refusals, and affects nothing else.
"""

from __future__ import annotations

import asyncio

from cluster_agent.attestation import AttestedPod, Attestor
from cluster_agent.errors import TooManyRequests, Unavailable

REVIEW_SECONDS = 5.0


class BoundedAttestor:
    """Asks `attestor` about at most `at_a_time` tokens at once, and lets `most_waiting` more wait."""

    def __init__(
        self, attestor: Attestor, *, at_a_time: int, most_waiting: int, seconds: float = REVIEW_SECONDS
    ) -> None:
        self._attestor = attestor
        self._turns = asyncio.Semaphore(at_a_time)
        self._waiting = 0
        self._most_waiting = most_waiting
        self._seconds = seconds

    @property
    def kind(self) -> str:
        return self._attestor.kind

    @property
    def waiting(self) -> int:
        return self._waiting

    async def attest(self, token: str) -> AttestedPod:
        """As the wrapped attestor. Also raises TooManyRequests, and Unavailable after the deadline."""
        if self._turns.locked() and self._waiting >= self._most_waiting:
            raise TooManyRequests(
                "AttestationBusy",
                f"{self._waiting} tokens wait for review; try again",
                limit="token-reviews",
            )
        self._waiting += 1
        waits = True
        try:
            async with asyncio.timeout(self._seconds):
                async with self._turns:
                    self._waiting -= 1
                    waits = False
                    return await self._attestor.attest(token)
        except TimeoutError as error:
            raise Unavailable(
                "AttestationTimeout", f"the token was not reviewed within {self._seconds:g} s"
            ) from error
        finally:
            if waits:
                self._waiting -= 1
