"""The keeper of the identity: gets a blessing at start, renews it before half of its life, never gives up.

While the cluster agent cannot be reached, the keeper tries again and again, and the current blessing is
served until it expires. By the end of a long outage all replicas wait to renew, and learn of its end within
half a minute. So each then takes up to half of the time that it still has: they come at two or three times
the usual rate, those whose certificates end first before the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pod_agent.errors import SeekError
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.renewal import renewal_time
from pod_agent.seeker import Seeker
from service.log import get_logger
from service.supervisor import BackOff, Task

_log = get_logger("pod_agent")

_LONGEST_SLEEP_SECONDS = 30.0
# So long may a client that holds a stream take an expired identity for a valid one.
_EXPIRY_SECONDS = 1.0
# In so short an outage, only a few replicas' renewals were due.
_SHORT_OUTAGE_SECONDS = 60.0
# Longer than several calls to the cluster agent; each takes at most ten seconds.
_UNREADY_SECONDS = 120.0


@dataclass(frozen=True)
class _BackOffInTime(BackOff):
    """Pauses of at most half of the seconds that are left, however often the cluster agent was away."""

    seconds_left: Callable[[], float] = lambda: 0.0

    def pause(self, failures: int, chance: float, asked_seconds: float | None = None) -> float:
        pause, left = super().pause(failures, chance, asked_seconds), self.seconds_left()
        return pause if left <= 0 or asked_seconds else min(pause, max(left / 2, self.first_seconds))


class Observer(Protocol):
    """Notes attempts to get a blessing, by result, and identities that are served, or expired while they
    were."""

    def sought(self, result: str) -> None: ...

    def served(self) -> None: ...

    def expired(self) -> None: ...


class Keeper:
    """Keeps `current` up to date. Clock and random numbers are parameters, for tests."""

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
        self._away_since: datetime | None = None
        self._start_over = False
        self._hurry = False

    def start_over(self) -> None:
        """Makes the next round get a new identity with the bootstrap credential. Call it when the current
        identity is no longer accepted."""
        self._start_over = self._hurry = True

    def task(self) -> Task:
        """The background task. A SeekError does not make `/readyz` fail; an expired identity does."""
        return Task(
            "identity",
            self.round,
            period=_LONGEST_SLEEP_SECONDS,
            failure="no new blessing",
            expected=(SeekError,),
            unready_after_seconds=_UNREADY_SECONDS,
            back_off=_BackOffInTime(seconds_left=lambda: self._seconds_left() or 0.0),
            context=lambda: {"secondsLeft": self._seconds_left()},
        )

    def expiry_task(self) -> Task:
        """The background task that withdraws an expired identity."""
        return Task(
            "expiry",
            self.expire,
            period=_EXPIRY_SECONDS,
            failure="expiry not seen",
            unready_after_seconds=_UNREADY_SECONDS,
        )

    async def expire(self) -> None:
        """Withdraws the identity when it has expired."""
        if (expired := await self._current.expire()) is not None:
            self._observer.expired()
            not_after = expired.not_after.isoformat()
            _log.error(
                "identity expired", name=str(expired.name), version=expired.version, notAfter=not_after
            )

    async def round(self) -> float:
        """Gets or renews a blessing when it is time; returns the seconds until the next round. Raises
        SeekError."""
        if self._renew_at is None or self._renew_at <= self._now() or self._hurry or self._is_early():
            self._renew_at = await self._time_after_outage() or await self._renew()
            self._hurry = False
        # Never sleeps long: after a suspend the clock jumps, and one long sleep would miss the renewal.
        return min(max(0.0, (self._renew_at - self._now()).total_seconds()), _LONGEST_SLEEP_SECONDS)

    async def _time_after_outage(self) -> datetime | None:
        """The time of the renewal, if a long outage is over and there is time; None to renew at once. Raises
        Unreachable during one."""
        held = self._current.value
        if held is None or self._start_over or self._hurry or self._is_early() or self._away_since is None:
            return None
        if (self._now() - self._away_since).total_seconds() < _SHORT_OUTAGE_SECONDS:
            return None
        try:
            await self._seeker.reach()
        except SeekError as error:
            self._observer.sought(error.reason)
            raise
        self._away_since = None
        return renewal_time(self._now(), held.not_after, self._chance())

    async def _renew(self) -> datetime:
        """Makes a new identity current, and returns the time of its renewal."""
        before = self._current.value
        try:
            answer = await self._seeker.seek(None if self._start_over else self._current.value)
        except SeekError as error:
            self._observer.sought(error.reason)
            # `error.start_over`: the cluster agent no longer knows the replica certificate, but may still
            # accept the bootstrap credential. The flag stays until a blessing arrives: a later attempt that
            # gets no answer does not prove that the certificate is known again.
            self._start_over = self._start_over or error.start_over
            if error.reason == "Unreachable":
                self._away_since = self._away_since or self._now()
            raise
        # Roots that arrived while the cluster agent answered are newer than those in its answer.
        held = self._current.value
        roots = answer.roots if before is None or held is None or held.roots == before.roots else held.roots
        self._start_over, self._away_since = False, None
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
            Identity(self._version, answer.principal, answer.blessing, answer.name, roots, renew_at)
        )
        self._observer.served()
        return renew_at

    def _is_early(self) -> bool:
        """Whether the identity is not valid yet: it was made when clocks were ahead, and peers refuse it."""
        held = self._current.value
        return held is not None and self._now() < held.blessing.not_before

    def _seconds_left(self) -> int | None:
        held = self._current.value
        return None if held is None else round((held.not_after - self._now()).total_seconds())
