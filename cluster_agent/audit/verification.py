"""The verification that chains of records are as they were written. It trusts nothing in the database except
what a noted head covers."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cluster_agent.audit.kinds import EVERY_PART, Retention, kind_of_chain, part_of_chain
from cluster_agent.audit.notes import Note
from cluster_agent.audit.records import Head, next_hash, seconds_of

# The clocks of agents and verifier may differ by this much.
_LEEWAY = timedelta(hours=1)
# Notes come each minute. What differs more from the verifier's clock was noted, or no agent wrote it.
_NOTED_WITHIN = timedelta(minutes=5)
# The share of the limit of a kind, or of a part, that may be taken by records that are not noted yet, or
# were not before a `kill -9`.
_NOT_NOTED = 0.1


@dataclass(frozen=True)
class StoredRecord:
    """A record in the database."""

    number: int
    at: int
    text: str
    hash: str


@dataclass
class Report:
    """The result of verification: contradictions, which only a change explains, and records that no note
    proves."""

    problems: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)
    records: int = 0


class Verification:
    """Verifies one database. `notes` come from outside of it; `retention` is the agents' rule for removing
    records."""

    def __init__(self, notes: Iterable[Note], retention: Retention, now: datetime) -> None:
        self.report = Report()
        self._notes: dict[str, dict[int, Note]] = defaultdict(dict)
        for note in notes:
            self._notes[note.head.chain][note.head.number] = note
        self._retention = retention
        self._now = now
        # The times of records that a note covers.
        self._proved: dict[str, array[int]] = {part: array("q") for part in EVERY_PART}

    def verify(
        self, bases: Iterable[Head], records_of: Callable[[str], Iterable[StoredRecord]], names: Iterable[str]
    ) -> Report:
        """Reads every record of every chain. `bases` are the heads before the chains' first records,
        `records_of` returns a chain's records in order, `names` are the chains that occur in records."""
        known = {base.chain: base for base in bases}
        for base in known.values():
            self._follow(base, records_of(base.chain))
        for name in names:
            if name not in known:
                self._problem(f"chain {name}: there are records, and no beginning")
        self._proved = {part: array("q", sorted(times)) for part, times in self._proved.items()}
        for name, notes in self._notes.items():
            if name not in known:
                self._problem(f"chain {name}: it is gone, the log noted {max(notes)} records")
            else:
                self._check_beginning(known[name], notes)
        return self.report

    def _follow(self, base: Head, records: Iterable[StoredRecord]) -> None:
        """Follows a chain from its base to its end."""
        where, at, notes = f"chain {base.chain}", base, self._notes.get(base.chain, {})
        last_noted = max(notes, default=0)
        proved = self._proved[part_of_chain(base.chain)]
        unproved = 0
        for record in records:
            self.report.records += 1
            if record.number != at.number + 1:
                self._problem(f"{where}: {_span(at.number + 1, record.number - 1)} missing")
            elif record.hash != next_hash(at, record.text) or not _is_at(record):
                self._problem(f"{where}: record {record.number} was changed, or another put in its place")
            at = Head(base.chain, record.number, record.hash)
            if (note := notes.get(at.number)) is not None and note.head != at:
                self._problem(f"{where}: the log noted another record {at.number}")
            if at.number <= last_noted:
                proved.append(record.at)
            elif record.at > (self._now + _LEEWAY).timestamp():
                self._problem(f"{where}: record {at.number} is dated more than an hour in the future")
            elif abs(record.at - self._now.timestamp()) > _NOTED_WITHIN.total_seconds():
                unproved += 1
        if at.number < last_noted:
            self._problem(f"{where}: {_span(at.number + 1, last_noted)} missing at its end")
        if unproved:
            self.report.unproved.append(
                f"{where}: {unproved} records, up to {at.number}, come after the last noted head"
            )

    def _check_beginning(self, base: Head, notes: dict[int, Note]) -> None:
        """Checks that the records missing at a chain's beginning are those that the agents remove."""
        early = [note for note in notes.values() if note.after < base.number and not self._may_be_gone(note)]
        if early:
            first = min(note.after for note in early) + 1
            last = min(max(note.head.number for note in early), base.number)
            self._problem(f"chain {base.chain}: {_span(first, last)} missing at its beginning, too early")

    def _may_be_gone(self, note: Note) -> bool:
        """Whether the first record that the note covers is old enough to be removed, or its part of the kind
        has as many newer ones as it may."""
        limit = self._retention.limit(kind_of_chain(note.head.chain))
        times = self._proved[part_of_chain(note.head.chain)]
        if note.since < (self._now - limit.age + _LEEWAY).timestamp():
            return True
        newer = len(times) - bisect_left(times, note.since - int(_LEEWAY.total_seconds()))
        return limit.share is not None and newer >= limit.share * (1 - _NOT_NOTED)

    def _problem(self, found: str) -> None:
        self.report.problems.append(found)


def _span(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


def _is_at(record: StoredRecord) -> bool:
    try:
        return seconds_of(record.text) == record.at
    except (ValueError, KeyError, TypeError):
        return False
