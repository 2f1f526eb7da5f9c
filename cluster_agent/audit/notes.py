"""Notes of chain heads in the log, which verification compares the database with. No I/O.

A note states which records no earlier note covers, and the time of the first of them. So each note states by
itself until when its records must exist, whatever other lines of the log are lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from blessings import InvalidKey, Principal, fingerprint, verify_signature
from blessings.keys import encoded, parse_public_key
from cluster_agent.audit.records import Head

EVENT = "audit head"  # the event of the log's lines that are notes
_PURPOSE = "vanadium cluster agent, audit head, version 1"


class InvalidNote(ValueError):
    """The line is not a note by a trusted key; the message states why."""


@dataclass(frozen=True)
class Note:
    """A head of a chain. It is the first note to cover the records from `after` + 1 to the head. The first of
    them has the time `since`, in seconds since the epoch."""

    head: Head
    after: int
    since: int

    def line(self, principal: Principal) -> dict[str, Any]:
        """The signed line for the log."""
        return {
            "chain": self.head.chain,
            "after": self.after,
            "number": self.head.number,
            "hash": self.head.hash,
            "since": self.since,
            "key": encoded(principal.public_key).hex(),
            "signature": principal.sign(self._statement()).hex(),
            "fingerprint": fingerprint(principal.public_key),
        }

    @classmethod
    def of_line(cls, line: Mapping[str, Any], trusted: Set[str]) -> Note:
        """The note in a line of the log, if a key with one of the `trusted` fingerprints signed it, or any
        key when `trusted` is empty. Raises InvalidNote."""
        try:
            head = Head(str(line["chain"]), int(line["number"]), str(line["hash"]))
            note = cls(head, int(line["after"]), int(line["since"]))
            key = parse_public_key(bytes.fromhex(line["key"]))
            holds = verify_signature(key, note._statement(), bytes.fromhex(line["signature"]))
        except (KeyError, TypeError, ValueError, InvalidKey) as error:
            raise InvalidNote(f"cannot be read: {error!r}") from error
        where = f"the head noted for chain {head.chain} (number {head.number})"
        if not holds:
            raise InvalidNote(f"{where} is not signed")
        if trusted and fingerprint(key) not in trusted:
            raise InvalidNote(f"{where} is signed by {fingerprint(key)}, which is not trusted")
        return note

    def _statement(self) -> bytes:
        head = self.head
        return f"{_PURPOSE}\n{head.chain}\n{self.after}\n{head.number}\n{head.hash}\n{self.since}".encode()
