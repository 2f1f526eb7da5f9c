"""What the healer remembers of a namespace: which evictions have not shown yet what came of them, and for how
long it keeps away. Pure: time is a parameter, in seconds of a monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from webhook.healer.diagnosis import Cause, FoundPod
from webhook.notices.subject import Subject

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0
# A PodDisruptionBudget that permits none now may do so soon.
BUDGET_PAUSE_SECONDS = 15.0
# An eviction of which no new Pod came within this time failed: a quota, or another webhook, is in the way.
SETTLE_SECONDS = 120.0
# How long the number of an owner's Pods before an eviction counts as the number that it wants.
SIZE_SECONDS = 600.0
# An owner of which nothing was heard for so long is new again.
FORGET_SECONDS = 2 * LONGEST_PAUSE_SECONDS


def pause(failures: int) -> float:
    """Doubles with each failure in a row."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)


@dataclass
class OwnerRecord:
    """An owner of which Pods were evicted. `bare` and `healthy` are as they were before the last eviction."""

    bare: frozenset[str]
    healthy: int
    size: int
    evicted_at: float
    is_open: bool = True
    failures: int = 0
    until: float = 0.0


@dataclass
class NamespaceMemory:
    """A namespace. Until one eviction has brought a Pod with an identity, there is only one at a time: where
    API servers do not reach the webhook, each would only cost its owner a Pod."""

    is_proven: bool = False
    failures: int = 0
    until: float = 0.0
    served_at: float = float("-inf")
    """The time of the last attempt of an eviction: the namespace that waits longest comes first."""
    owners: dict[Subject, OwnerRecord] = field(default_factory=dict)

    def observe(self, pods: Iterable[FoundPod], now: float) -> None:
        """Draws conclusions from the namespace's Pods: what came of the evictions."""
        by_owner: dict[Subject, list[FoundPod]] = {}
        for pod in pods:
            if pod.owner in self.owners:
                by_owner.setdefault(pod.owner, []).append(pod)
        for owner, record in list(self.owners.items()):
            if record.is_open:
                self._settle(record, by_owner.get(owner, []), now)
            elif now - record.evicted_at > FORGET_SECONDS:
                del self.owners[owner]

    def evicted(self, owner: Subject, pods: Iterable[FoundPod], now: float) -> None:
        """Notes an eviction; `pods` are those of the owner before it."""
        present = list(pods)
        before = self.owners.get(owner)
        size = len(present)
        if before is not None and now - before.evicted_at < SIZE_SECONDS:
            size = max(size, before.size)
        self.owners[owner] = OwnerRecord(
            bare=frozenset(one.uid for one in present if is_bare(one)),
            healthy=sum(is_healthy(one) for one in present),
            size=size,
            evicted_at=now,
            failures=0 if before is None else before.failures,
        )

    def hindered(self, owner: Subject, pods: Iterable[FoundPod], now: float) -> None:
        """Notes that a PodDisruptionBudget permitted no eviction."""
        if owner not in self.owners:
            self.evicted(owner, pods, now)
            self.owners[owner].is_open = False
        self.owners[owner].until = now + BUDGET_PAUSE_SECONDS

    def size(self, owner: Subject, present: int, now: float) -> int:
        """How many Pods the owner wants, as far as it can be known from its Pods."""
        record = self.owners.get(owner)
        if record is None or now - record.evicted_at >= SIZE_SECONDS:
            return present
        return max(present, record.size)

    def failures_of(self, owner: Subject | None) -> int:
        """How many evictions in a row were in vain."""
        record = None if owner is None else self.owners.get(owner)
        return 0 if record is None else record.failures

    def is_pausing(self, owner: Subject, now: float) -> bool:
        record = self.owners.get(owner)
        return now < self.until or (record is not None and now < record.until)

    @property
    def open(self) -> int:
        """How many owners have evictions of which nothing came yet."""
        return sum(one.is_open for one in self.owners.values())

    def _settle(self, record: OwnerRecord, pods: list[FoundPod], now: float) -> None:
        if any(is_bare(one) and one.uid not in record.bare for one in pods):
            # Its new Pod is as bare as the one that was evicted: the webhook is not called, or away.
            self._failed(record, now)
            self.is_proven = False
            self.failures += 1
            self.until = now + pause(self.failures)
        elif sum(map(is_healthy, pods)) > record.healthy:
            record.is_open, record.failures = False, 0
            self.is_proven, self.failures = True, 0
        elif now - record.evicted_at > SETTLE_SECONDS:
            self._failed(record, now)

    def _failed(self, record: OwnerRecord, now: float) -> None:
        record.is_open = False
        record.failures += 1
        record.until = now + pause(record.failures)


def is_bare(pod: FoundPod) -> bool:
    """Whether the Pod should have an identity and has none."""
    return pod.cause is Cause.MISSING or (not pod.has_identity and bool(pod.refused))


def is_healthy(pod: FoundPod) -> bool:
    """Whether the Pod has an identity that it may keep."""
    return pod.has_identity and pod.cause is None
