"""Keeps an identity: seeks at start, renews at half of its life, and never gives up.

While the cluster agent is away, it waits, and what it has is served until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from pod_agent.errors import SeekError
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.renewal import pause_before_retry, renewal_time
from pod_agent.seeker import Seeker

_log = structlog.get_logger("pod_agent")

Sleep = Callable[[float], Awaitable[None]]


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
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._seeker = seeker
        self._current = current
        self._observer = observer
        self._now = now
        self._chance = chance
        self._sleep = sleep
        self._start_over = False
        self._hurry = False

    def start_over(self) -> None:
        """Gets another identity soon, by the bootstrap credential: that of now is no good any more."""
        self._start_over = self._hurry = True

    async def keep(self) -> None:
        """Runs until it is cancelled."""
        version = 0
        while True:
            identity = await self._obtain(version + 1)
            version = identity.version
            await self._current.set(identity)
            self._hurry = False
            await self._sleep_until(identity.renew_at)

    async def _obtain(self, version: int) -> Identity:
        failures = 0
        while True:
            held = self._current.value
            try:
                answer = await self._seeker.seek(None if self._start_over else held)
            except SeekError as error:
                failures += 1
                self._note(error, failures, held)
                pause = pause_before_retry(failures, self._chance(), error.retry_after_seconds)
                await self._sleep(pause.total_seconds())
                continue
            self._start_over = False
            self._observer.sought("Blessed")
            now = self._now()
            renew_at = renewal_time(now, answer.blessing.not_after, self._chance())
            _log.info(
                "blessed",
                name=str(answer.name),
                version=version,
                notAfter=answer.blessing.not_after.isoformat(),
                renewAt=renew_at.isoformat(timespec="seconds"),
            )
            return Identity(version, answer.principal, answer.blessing, answer.name, answer.roots, renew_at)

    def _note(self, error: SeekError, failures: int, held: Identity | None) -> None:
        self._observer.sought(error.reason)
        # A replica certificate that is no longer known: the bootstrap credential may still be good.
        # Until a blessing comes: an attempt that then finds nobody says nothing against it.
        self._start_over = self._start_over or error.start_over
        _log.warning(
            "no blessing yet" if held is None else "blessing not renewed",
            reason=error.reason,
            message=str(error),
            failures=failures,
            secondsLeft=None if held is None else round((held.not_after - self._now()).total_seconds()),
        )

    async def _sleep_until(self, time: datetime) -> None:
        # In steps: a suspended machine's clock jumps, and a long sleep would not notice.
        while (left := time - self._now()) > timedelta(0) and not self._hurry:
            await self._sleep(min(left.total_seconds(), 30.0))
