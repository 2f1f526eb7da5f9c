"""The seeker that spares certificates: the cluster agent has issued and counted one for each answer, and
refuses a Pod that has too many.

After an answer that cannot be used, it waits for minutes before it asks again. An answer that is only not
valid by this node's clock is kept, and used as soon as it is valid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pod_agent.errors import ClocksDiffer, SeekError, Untrustworthy
from pod_agent.identity import Identity
from pod_agent.seeker import Answer, Unjudged
from service.supervisor import BackOff

# Of the certificates that a Pod may have, not half can be of one hour.
_BACK_OFF = BackOff(60.0, 600.0)


class AnswerSource(Protocol):
    """A source of answers that are still to be judged."""

    async def ask(self, current: Identity | None) -> Unjudged:
        """Raises SeekError; Untrustworthy for an answer that cannot be read."""

    async def reach(self) -> None:
        """Asks nothing. Raises Unreachable while the cluster agent is away."""


@dataclass(frozen=True)
class _Unused:
    """An answer that could not be used, what was wrong with it, and when to ask again. It is None when there
    is no use for it later."""

    answer: Unjudged | None
    error: SeekError
    ask_at: float


class CarefulSeeker:
    """Judges the answers of `source`. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        source: AnswerSource,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._source = source
        self._now = now
        self._clock = clock
        self._chance = chance
        self._unused: _Unused | None = None
        self._failures = 0

    async def seek(self, current: Identity | None) -> Answer:
        if (answer := self._kept(current)) is None:
            answer = await self._asked(current)
        self._unused, self._failures = None, 0
        return answer

    async def reach(self) -> None:
        await self._source.reach()

    def _kept(self, current: Identity | None) -> Answer | None:
        """The last answer, if it can be used by now; None when it is time to ask again. Raises SeekError in
        between."""
        unused = self._unused
        if unused is None:
            return None
        error = unused.error
        if unused.answer is not None:
            try:
                return unused.answer.judged(current, self._now())
            except (Untrustworthy, ClocksDiffer) as still:
                error = still
        left = unused.ask_at - self._clock()
        if left <= 0:
            return None
        raise type(error)(error.reason, f"{error}; asking again in {left:.0f} s")

    async def _asked(self, current: Identity | None) -> Answer:
        try:
            unjudged = await self._source.ask(current)
        except Untrustworthy as error:
            self._note(None, error)
            raise
        try:
            return unjudged.judged(current, self._now())
        except Untrustworthy as error:
            self._note(None, error)
            raise
        except ClocksDiffer as error:
            self._note(unjudged, error)
            raise

    def _note(self, answer: Unjudged | None, error: SeekError) -> None:
        self._failures += 1
        pause = _BACK_OFF.pause(self._failures, self._chance())
        self._unused = _Unused(answer, error, self._clock() + pause)
