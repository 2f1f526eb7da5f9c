"""Records, and the hashes that chain them. No I/O.

A record's hash covers its chain, its number, the previous hash, and its text, so a head covers its whole
chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from blessings.encoding.times import rfc3339

_MOST_CHARACTERS = 300
# The base of a chain from which nothing was removed.
BEGINNING = (0, "")


@dataclass(frozen=True)
class Record:
    """One act: its name, its time, the caller (a proven name, or empty), and its subject. Never a secret."""

    act: str
    at: datetime
    caller: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def saying(self, **details: Any) -> Record:
        """This record with more details, which the act itself knows."""
        return replace(self, details={**self.details, **details})

    def text(self) -> str:
        """The record as it is stored, hashed and shown: JSON on one line. Long strings, which a client may
        have chosen, are cut."""
        at = rfc3339(self.at, "milliseconds")
        content = {"act": self.act, "at": at, "caller": self.caller, **self.details}
        return json.dumps({key: _cut(value) for key, value in content.items()}, separators=(",", ":"))


@dataclass(frozen=True)
class Head:
    """The last record of a chain, or the base after which its remaining records begin."""

    chain: str
    number: int
    hash: str


def next_hash(head: Head, text: str) -> str:
    """The hash of the record with `text` that comes after `head`."""
    return hashlib.sha256(f"{head.chain}\n{head.number + 1}\n{head.hash}\n{text}".encode()).hexdigest()


def seconds_of(text: str) -> int:
    """The time of the record, in whole seconds since the epoch. Raises ValueError, KeyError."""
    return int(datetime.fromisoformat(json.loads(text)["at"]).timestamp())


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return value[:_MOST_CHARACTERS] + "…"
    return value
