"""Records of refusals: every refusal is counted, and those within a budget get their own record.

A refused client must not fill the disk, make issuing wait, or push out older records. So refusals are
collected in memory, equal ones together, and written within a second, while a budget lasts. Beyond it, and
when the answer only asks the client to wait, they are counted without a record. Each path has a budget. A
client must not hide a refusal behind others that it can cause at will. So callers with a certificate of this
agent or of the control plane have separate budgets, which fill slowly because these records are kept for
long: one for each bootstrap credential, and, for the control plane's names, one for each reason, because some
calls of the webhook are refused every day. Beside the budget of a path, each application of a replica has one
too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from cluster_agent.audit.kinds import Kind, refusal_kind
from cluster_agent.audit.records import Record
from cluster_agent.errors import Refusal, TooManyRequests
from service.token_bucket import TokenBucket

RECORDS_A_MINUTE = 10
BURST = 100
TOGETHER_SECONDS = 60
RECORDS_AN_HOUR = 10
CREDENTIAL_BURST = 20
CALLERS_TOGETHER_SECONDS = 3600
# How many kinds of refusals are counted separately; further kinds are counted as `other`.
MOST_TOGETHER = 500
OTHER_PATH = "other"
MOST_BUDGETS = 100


class Budgets:
    """One token bucket per key: `burst` tokens, refilled at `a_second`. When MOST_BUDGETS buckets are not
    full, new keys share one."""

    def __init__(self, burst: int, a_second: float) -> None:
        self._burst = float(burst)
        self._a_second = a_second
        self._buckets: dict[tuple[str, ...], TokenBucket] = {}

    def take(self, key: tuple[str, ...], now: float) -> bool:
        """Takes a token, and returns whether there was one."""
        if key not in self._buckets and len(self._buckets) >= MOST_BUDGETS:
            self._buckets = {of: one for of, one in self._buckets.items() if not one.is_full(now)}
            if len(self._buckets) >= MOST_BUDGETS:
                key = ()
        if key not in self._buckets:
            self._buckets[key] = TokenBucket.full(self._a_second, self._burst, now)
        return not self._buckets[key].take(now)


class Refusals:
    """The refusals of one agent. `monotonic` is a clock in seconds, `now` the clock for the records."""

    def __init__(self, monotonic: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._monotonic = monotonic
        self._now = now
        slowly = RECORDS_AN_HOUR / 3600
        self._budgets = {
            Kind.REFUSALS: Budgets(BURST, RECORDS_A_MINUTE / 60),
            Kind.TRIPWIRES: Budgets(CREDENTIAL_BURST, slowly),
            Kind.CONTROL_PLANE: Budgets(CREDENTIAL_BURST, slowly),
        }
        self._of_applications = Budgets(CREDENTIAL_BURST, slowly)
        # By path, reason, caller, certificate and address.
        self._single: dict[tuple[str, ...], tuple[Record, int]] = {}
        self._together: Counter[tuple[str, str]] = Counter()
        self._of_callers: Counter[str] = Counter()
        self._together_at = self._callers_at = monotonic()

    def add(
        self,
        path: str,
        refusal: Refusal,
        *,
        caller: str = "",
        certificate: str = "",
        address: str = "",
    ) -> None:
        """Counts a refusal. `path` and the refusal's reason must have few different values; the other values
        may be anything."""
        key = (path, refusal.reason, caller, certificate, address)
        if key in self._single:
            first, count = self._single[key]
            self._single[key] = (first, count + 1)
        elif isinstance(refusal, TooManyRequests):
            self._count_together(path, refusal.reason, 1)
        elif not self._take(path, refusal.reason, caller):
            self._count(path, refusal.reason, caller, 1)
        else:
            record = self._record(
                caller,
                path=path,
                reason=refusal.reason,
                message=str(refusal),
                certificate=certificate,
                address=address,
            )
            self._single[key] = (record, 1)

    def take(self, *, all_of_them: bool = False) -> list[Record]:
        """Takes out the records that are due to be written."""
        records = [record.saying(count=count) for record, count in self._single.values()]
        self._single.clear()
        now = self._monotonic()
        if all_of_them or now - self._together_at >= TOGETHER_SECONDS:
            self._together_at = now
            records += [
                self._record("", path=path, reason=reason, count=count)
                for (path, reason), count in sorted(self._together.items())
            ]
            self._together.clear()
        if all_of_them or now - self._callers_at >= CALLERS_TOGETHER_SECONDS:
            self._callers_at = now
            records += [
                self._record(caller, path=OTHER_PATH, reason=OTHER_PATH, count=count)
                for caller, count in sorted(self._of_callers.items())
            ]
            self._of_callers.clear()
        return records

    def put_back(self, records: list[Record]) -> None:
        """Counts records that could not be written together with the next ones."""
        for record in records:
            details = record.details
            self._count(details["path"], details["reason"], record.caller, details["count"])

    def _record(self, caller: str, **details: str | int) -> Record:
        return Record("refused", self._now(), caller, details)

    def _count(self, path: str, reason: str, caller: str, count: int) -> None:
        """Adds to a count of this caller, if its name must not get lost, or of all callers."""
        kept = refusal_kind(caller) is not Kind.REFUSALS
        if kept and (caller in self._of_callers or len(self._of_callers) < MOST_TOGETHER):
            self._of_callers[caller] += count
        else:
            self._count_together(path, reason, count)

    def _count_together(self, path: str, reason: str, count: int) -> None:
        kind = (path, reason)
        if kind not in self._together and len(self._together) >= MOST_TOGETHER:
            kind = (OTHER_PATH, OTHER_PATH)
        self._together[kind] += count

    def _take(self, path: str, reason: str, caller: str) -> bool:
        kind, now = refusal_kind(caller), self._monotonic()
        if kind is Kind.REFUSALS:
            if self._budgets[kind].take((path,), now):
                return True
            application = caller.rpartition(":")[0]
            return application != "" and self._of_applications.take((application,), now)
        key = (caller, reason) if kind is Kind.CONTROL_PLANE else (caller,)
        return self._budgets[kind].take(key, now)
