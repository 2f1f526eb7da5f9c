"""Discharges: signed statements by a third party that the conditions of its caveat hold.

    {"version": 1, "caveat": "<identifier, hex>", "caveats": [...], "signature": "<base64>"}

The signature covers the canonical JSON of the other three fields, after a purpose prefix. A discharge may
have caveats of its own, such as an expiry; while one of them does not hold, neither does the discharge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from blessings.caveats import kinds
from blessings.caveats.kinds import Caveat, Expiry, ThirdParty
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields, spell_bytes
from blessings.errors import InvalidCaveat
from blessings.keys import PublicKey
from blessings.principal import verify_discharge_signature

VERSION = 1
MAX_DISCHARGES = 64
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Discharge:
    """A discharge of the caveat with that identifier. It proves nothing before `is_signed_by` accepts it."""

    caveat: str
    caveats: tuple[Caveat, ...]
    signature: bytes

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.caveat):
            raise InvalidCaveat(f"discharge.caveat must be 64 hex digits, got {self.caveat!r:.100}")

    @property
    def not_after(self) -> datetime | None:
        """The earliest of its expiries, or None."""
        return min((one.at for one in self.caveats if isinstance(one, Expiry)), default=None)

    def is_signed_by(self, key: PublicKey) -> bool:
        return verify_discharge_signature(key, signed_content(self.caveat, self.caveats), self.signature)

    def to_json(self) -> JSON:
        return {
            "version": VERSION,
            "caveat": self.caveat,
            "caveats": kinds.encode(self.caveats),
            "signature": spell_bytes(self.signature),
        }

    @classmethod
    def from_json(cls, value: JSON) -> Discharge:
        """The inverse of `to_json`. Raises InvalidCaveat."""
        fields = Fields(value, "discharge", ("version", "caveat", "caveats", "signature"))
        fields.version(VERSION)
        read = kinds.parse_all(fields.list("caveats"), "discharge.caveats")
        return cls(fields.text("caveat"), read, fields.bytes("signature"))

    def encode(self) -> bytes:
        """Its JSON in UTF-8."""
        return canonical.encode(self.to_json())

    @classmethod
    def parse(cls, data: bytes | str) -> Discharge:
        """The inverse of `encode`; spaces and the order of keys don't matter. Raises InvalidCaveat."""
        return cls.from_json(canonical.parse_any(data))


@dataclass(frozen=True)
class Discharges:
    """The discharges presented with a blessing: at most 64, in any order."""

    entries: tuple[Discharge, ...] = ()

    def __post_init__(self) -> None:
        if len(self.entries) > MAX_DISCHARGES:
            raise InvalidCaveat(f"at most {MAX_DISCHARGES} discharges are read, got {len(self.entries)}")

    def of(self, caveat: ThirdParty) -> Iterator[Discharge]:
        """The discharges that claim to be for `caveat`."""
        identifier = caveat.identifier
        return (one for one in self.entries if one.caveat == identifier)


def undischarged(caveats: Iterable[Caveat], discharges: Discharges, now: datetime) -> list[ThirdParty]:
    """The third-party caveats that `discharges` do not meet at `now`, among `caveats` and among those of the
    discharges themselves. A discharge meets one when its discharger signed it and it has not expired."""
    waiting, seen, missing = third_party(caveats), set[str](), list[ThirdParty]()
    while waiting:
        caveat = waiting.pop(0)
        if caveat.identifier in seen:
            continue
        seen.add(caveat.identifier)
        held = [one for one in discharges.of(caveat) if one.not_after is None or now < one.not_after]
        met = next((one for one in held if one.is_signed_by(caveat.discharger)), None)
        if met is None:
            missing.append(caveat)
        else:
            waiting += third_party(met.caveats)
    return missing


def third_party(caveats: Iterable[Caveat]) -> list[ThirdParty]:
    """Those that ask for a discharge."""
    return [caveat for caveat in caveats if isinstance(caveat, ThirdParty)]


def encode_request(caveat: ThirdParty) -> bytes:
    """The request to a discharger, sent by POST to the caveat's location: `{"version": 1, "caveat": {…}}`."""
    return canonical.encode({"version": VERSION, "caveat": caveat.to_json()})


def parse_request(data: bytes) -> ThirdParty:
    """The caveat in a discharger's request; the inverse of `encode_request`. Raises InvalidCaveat."""
    fields = Fields(canonical.parse_any(data), "request", ("version", "caveat"))
    fields.version(VERSION)
    caveat = kinds.parse(fields.any("caveat"), "request.caveat")
    if not isinstance(caveat, ThirdParty):
        raise InvalidCaveat("request.caveat must be a third-party caveat")
    return caveat


def signed_content(identifier: str, restrictions: tuple[Caveat, ...]) -> bytes:
    return canonical.encode({"version": VERSION, "caveat": identifier, "caveats": kinds.encode(restrictions)})
