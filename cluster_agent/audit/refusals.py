"""Records of refusals: every one is counted, and those within a budget have a record of their own.

Whoever is refused must not fill the disk, nor make issuing wait. So refusals gather in memory, equal ones
together, and are written a second later at most, while the budget lasts; beyond it, and for calls that were
only told to wait, there is one record a minute for each reason, with their number. Each path has a budget of
its own, and who comes with a bootstrap credential another one, so that nobody hides a refusal behind others
that they may cause at will.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cluster_agent.audit.kinds import Kind, refusal_kind
from cluster_agent.audit.records import Record
from cluster_agent.errors import Refusal, TooManyRequests

RECORDS_A_MINUTE = 10
BURST = 100
TOGETHER_SECONDS = 60
# Kinds that are counted together; what is of another kind after so many is counted as `other`.
MOST_TOGETHER = 500
OTHER_PATH = "other"
MOST_BUDGETS = 100


@dataclass(frozen=True)
class _Kind:
    path: str
    reason: str
    caller: str
    certificate: str
    address: str


class Refusals:
    """Of one agent. `monotonic` is a clock in seconds, `now` one for the records."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._monotonic = monotonic
        self._now = now
        self._budgets: dict[tuple[str, Kind], tuple[float, float]] = {}
        self._single: dict[_Kind, tuple[Record, int]] = {}
        self._together: Counter[tuple[str, str]] = Counter()
        self._together_at = monotonic()

    def add(
        self,
        path: str,
        refusal: Refusal,
        *,
        caller: str = "",
        certificate: str = "",
        address: str = "",
    ) -> None:
        """`path` and the refusal's reason are of a kind that we have few of; the others may be anything."""
        kind = _Kind(path, refusal.reason, caller, certificate, address)
        known = self._single.get(kind)
        if known is not None:
            self._single[kind] = (known[0], known[1] + 1)
        elif isinstance(refusal, TooManyRequests) or not self._take(path, caller):
            self._count_together(path, refusal.reason, 1)
        else:
            details = {
                "path": path,
                "reason": refusal.reason,
                "message": str(refusal),
                "certificate": certificate,
                "address": address,
            }
            self._single[kind] = (Record("refused", self._now(), caller, details), 1)

    def take(self, *, all_of_them: bool = False) -> list[Record]:
        """What is due to be written; it is not kept."""
        records = [
            Record(record.act, record.at, record.caller, {**record.details, "count": count})
            for record, count in self._single.values()
        ]
        self._single.clear()
        now = self._monotonic()
        if all_of_them or now - self._together_at >= TOGETHER_SECONDS:
            self._together_at = now
            records += [
                Record("refused", self._now(), details={"path": path, "reason": reason, "count": count})
                for (path, reason), count in sorted(self._together.items())
            ]
            self._together.clear()
        return records

    def put_back(self, records: list[Record]) -> None:
        """What could not be written, to be counted with the next."""
        for record in records:
            details = record.details
            self._count_together(details["path"], details["reason"], details["count"])

    def _count_together(self, path: str, reason: str, count: int) -> None:
        kind = (path, reason)
        if kind not in self._together and len(self._together) >= MOST_TOGETHER:
            kind = (OTHER_PATH, OTHER_PATH)
        self._together[kind] += count

    def _take(self, path: str, caller: str) -> bool:
        now = self._monotonic()
        of = (path, refusal_kind(caller))
        if of not in self._budgets and len(self._budgets) >= MOST_BUDGETS:
            of = (OTHER_PATH, Kind.REFUSALS)
        left, filled_at = self._budgets.get(of, (float(BURST), now))
        left = min(float(BURST), left + (now - filled_at) * RECORDS_A_MINUTE / 60)
        self._budgets[of] = (left - 1 if left >= 1 else left, now)
        return left >= 1
