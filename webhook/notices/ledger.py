"""What there is to tell, counted and bounded. Pure: there are no API calls here.

A tenant can have Pods refused a thousand times a second. Repetitions are counted into one Event, each
namespace has a number of Events of its own, and what exceeds a limit is counted and not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from service.token_bucket import TokenBucket
from webhook.notices.subject import Subject

# A repetition within this time is not told anew. API servers forget an Event after an hour by default.
REPEAT_SECONDS = 600.0
MOST_OF_NAMESPACE = 32
MOST_NAMESPACES = 512
BURST_OF_NAMESPACE, PER_SECOND_OF_NAMESPACE = 10.0, 1 / 30
_BURST_OF_ALL, _PER_SECOND_OF_ALL = 50.0, 10.0


class Key(NamedTuple):
    """Notices with the same key are one Event."""

    subject: Subject
    reason: str


class Notice(NamedTuple):
    """An Event to write. `times` is how often it happened since the last one."""

    namespace: str
    subject: Subject
    reason: str
    message: str
    is_warning: bool
    times: int


@dataclass
class _Entry:
    message: str
    is_warning: bool
    count: int = 0
    told_at: float | None = None


@dataclass
class _Namespace:
    bucket: TokenBucket
    entries: dict[Key, _Entry] = field(default_factory=dict)


class Ledger:
    """The notices of all namespaces. Not safe for threads."""

    def __init__(self) -> None:
        self._namespaces: dict[str, _Namespace] = {}
        self._all = TokenBucket.full(_PER_SECOND_OF_ALL, _BURST_OF_ALL, 0.0)

    def note(self, namespace: str, key: Key, message: str, *, is_warning: bool, now: float) -> bool:
        """Counts one happening. Returns whether there was room for it."""
        found = self._namespaces.get(namespace)
        if found is None:
            if len(self._namespaces) >= MOST_NAMESPACES:
                return False
            bucket = TokenBucket.full(PER_SECOND_OF_NAMESPACE, BURST_OF_NAMESPACE, now)
            found = self._namespaces[namespace] = _Namespace(bucket)
        entry = found.entries.get(key)
        if entry is None:
            if len(found.entries) >= MOST_OF_NAMESPACE:
                return False
            entry = found.entries[key] = _Entry(message, is_warning)
        entry.count += 1
        entry.message = message
        return True

    def due(self, now: float) -> list[Notice]:
        """The Events to write now, those of each namespace in turn. What is not due stays counted."""
        self._forget(now)
        waiting = [self._waiting(name, one, now) for name, one in list(self._namespaces.items())]
        found: list[Notice] = []
        while waiting:
            for one in list(waiting):
                notice = next(one, None)
                if notice is None:
                    waiting.remove(one)
                    continue
                found.append(notice)
                if self._all.take(now) > 0:
                    return found
        return found

    def _waiting(self, name: str, namespace: _Namespace, now: float) -> Iterator[Notice]:
        """The namespace's Events that are due; each one that is taken counts as told."""
        for key, entry in list(namespace.entries.items()):
            if not entry.count or (entry.told_at is not None and now - entry.told_at < REPEAT_SECONDS):
                continue
            if namespace.bucket.take(now) > 0:
                return
            times, entry.count, entry.told_at = entry.count, 0, now
            yield Notice(name, key.subject, key.reason, entry.message, entry.is_warning, times)

    def _forget(self, now: float) -> None:
        """Forgets what did not happen again, and namespaces of which nothing is left."""
        for name, namespace in list(self._namespaces.items()):
            for key, entry in list(namespace.entries.items()):
                if not entry.count and entry.told_at is not None and now - entry.told_at >= REPEAT_SECONDS:
                    del namespace.entries[key]
            if not namespace.entries and namespace.bucket.is_full(now):
                del self._namespaces[name]
