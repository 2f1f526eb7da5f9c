"""Keeps an identity: seeks at start, renews at half of its life, and never gives up.

While the cluster agent is away, it waits, and what it has is served until it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import structlog

from pod_agent.errors import SeekError
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.renewal import renewal_time
from pod_agent.seeker import Seeker
from service.supervisor import Task

_log = structlog.get_logger("pod_agent")

_LONGEST_SLEEP_SECONDS = 30.0
# A call of the cluster agent takes ten seconds at most.
_UNREADY_SECONDS = 120.0


class Observer(Protocol):
    """Whoever counts what happened."""

    def sought(self, result: str) -> None: ...


class Keeper:
    """Keeps `current` up to date, by a clock, a sleep and a chance that are passed in."""

    def __init__(
        self,
        seeker: Seeker,
        current: CurrentIdentity,
        observer: Observer,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._seeker = seeker
        self._current = current
        self._observer = observer
        self._now = now
        self._chance = chance
        self._version = 0
        self._renew_at: datetime | None = None
        self._start_over = False
        self._hurry = False

    def start_over(self) -> None:
        """Gets another identity soon, by the bootstrap credential: that of now is no good any more."""
        self._start_over = self._hurry = True

    def task(self) -> Task:
        """`/readyz` turns by itself when there is no valid identity."""
        return Task(
            "identity",
            self.round,
            period=_LONGEST_SLEEP_SECONDS,
            failure="no new blessing",
            expected=(SeekError,),
            unready_after_seconds=_UNREADY_SECONDS,
            context=lambda: {"secondsLeft": self._seconds_left()},
        )

    async def round(self) -> float:
        """Seeks or renews when it is time to; returns the seconds until the next round. Raises SeekError."""
        if self._renew_at is None or self._renew_at <= self._now() or self._hurry:
            self._renew_at = await self._renew()
            self._hurry = False
        # In steps: a suspended machine's clock jumps, and a long sleep would not notice.
        return min(max(0.0, (self._renew_at - self._now()).total_seconds()), _LONGEST_SLEEP_SECONDS)

    async def _renew(self) -> datetime:
        """Puts a new identity into force, and returns when it is to be renewed."""
        try:
            answer = await self._seeker.seek(None if self._start_over else self._current.value)
        except SeekError as error:
            self._observer.sought(error.reason)
            # A replica certificate that is no longer known: the bootstrap credential may still be good. The
            # flag stays until a blessing comes, because a later attempt that reaches nobody does not
            # contradict it.
            self._start_over = self._start_over or error.start_over
            raise
        self._start_over = False
        self._observer.sought("Blessed")
        renew_at = renewal_time(self._now(), answer.blessing.not_after, self._chance())
        self._version += 1
        _log.info(
            "blessed",
            name=str(answer.name),
            version=self._version,
            notAfter=answer.blessing.not_after.isoformat(),
            renewAt=renew_at.isoformat(timespec="seconds"),
        )
        await self._current.set(
            Identity(self._version, answer.principal, answer.blessing, answer.name, answer.roots, renew_at)
        )
        return renew_at

    def _seconds_left(self) -> int | None:
        held = self._current.value
        return None if held is None else round((held.not_after - self._now()).total_seconds())
