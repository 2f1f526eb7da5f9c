"""Records, and how they hang together. No I/O.

A record's hash covers its chain, its number, the hash before it, and its text, so a head covers all of its
chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

_MOST_CHARACTERS = 300
# A chain that nothing was removed from begins after this.
BEGINNING = (0, "")


@dataclass(frozen=True)
class Record:
    """One act: which, when, by whom (a proven name, or empty), and what it was about. Never a secret."""

    act: str
    at: datetime
    caller: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def saying(self, **details: Any) -> Record:
        """The same with more to say, which comes from the act itself."""
        return replace(self, details={**self.details, **details})

    def text(self) -> str:
        """The record as it is stored, hashed and shown: JSON on one line. Long strings, which a caller might
        have chosen, are cut."""
        at = self.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {"act": self.act, "at": at, "caller": self.caller, **self.details}
        return json.dumps({key: _cut(value) for key, value in said.items()}, separators=(",", ":"))


@dataclass(frozen=True)
class Head:
    """The place that a chain has reached, or where what is left of it begins."""

    chain: str
    number: int
    hash: str


def next_hash(head: Head, text: str) -> str:
    """The hash of the record with `text` that comes after `head`."""
    return hashlib.sha256(f"{head.chain}\n{head.number + 1}\n{head.hash}\n{text}".encode()).hexdigest()


def seconds_of(text: str) -> int:
    """When the record happened, in whole seconds since the epoch. Raises ValueError, KeyError."""
    return int(datetime.fromisoformat(json.loads(text)["at"]).timestamp())


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return value[:_MOST_CHARACTERS] + "…"
    return value
