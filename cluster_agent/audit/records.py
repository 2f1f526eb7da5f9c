"""Records, and how they hang together. No I/O.

A record's hash covers its chain, its number, the hash before it, and its text. The signature of a head covers
all of its chain by that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from blessings import Principal, fingerprint, verify_signature
from blessings.keys import PublicKey, encoded, parse_public_key

_MOST_CHARACTERS = 300
_PURPOSE = "vanadium cluster agent, audit, version 1"
HEAD_EVENT = "audit head"  # what lines of the log say that note a head
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

    def signed_by(self, principal: Principal, role: str = "head") -> Signed:
        return Signed(encoded(principal.public_key).hex(), principal.sign(_statement(self, role)).hex())

    def is_signed(self, signed: Signed, role: str = "head") -> bool:
        """Whether `signed` holds. Raises InvalidKey, ValueError when it is no signature at all."""
        return verify_signature(signed.public_key(), _statement(self, role), bytes.fromhex(signed.signature))


@dataclass(frozen=True)
class Signed:
    """A signature in hex, and the key that made it, as hex of its SubjectPublicKeyInfo."""

    key: str
    signature: str

    def public_key(self) -> PublicKey:
        """Raises InvalidKey, ValueError."""
        return parse_public_key(bytes.fromhex(self.key))

    @property
    def fingerprint(self) -> str:
        """The key's. Raises InvalidKey, ValueError."""
        return fingerprint(self.public_key())


def next_hash(head: Head, text: str) -> str:
    """The hash of the record with `text` that comes after `head`."""
    return hashlib.sha256(f"{head.chain}\n{head.number + 1}\n{head.hash}\n{text}".encode()).hexdigest()


def seconds_of(text: str) -> int:
    """When the record happened, in whole seconds since the epoch. Raises ValueError, KeyError."""
    return int(datetime.fromisoformat(json.loads(text)["at"]).timestamp())


def _statement(head: Head, role: str) -> bytes:
    return f"{_PURPOSE}, {role}\n{head.chain}\n{head.number}\n{head.hash}".encode()


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return value[:_MOST_CHARACTERS] + "…"
    return value
