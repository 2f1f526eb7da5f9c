"""Discharges: a third party's signed word that its conditions hold, which meets a ThirdParty caveat.

    {"version": 1, "caveat": "<identifier, hex>", "caveats": [...], "signature": "<base64>"}

The signature covers the canonical JSON of the other three fields, after a purpose prefix of its own. A
discharge may have caveats, as an expiry; they hold or fail with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from blessings import keys
from blessings.caveats import kinds
from blessings.caveats.checker import Checker
from blessings.caveats.kinds import Call, Caveat, CaveatRegistry, Expiry, ThirdParty
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields, spell_bytes
from blessings.errors import CannotBless, InvalidCaveat
from blessings.keys import PublicKey
from blessings.principals.principal import Principal, verify_discharge_signature

VERSION = 1
MAX_DISCHARGES = 64
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Discharge:
    """For the caveat of that identifier. Nothing about it is proven before `is_signed_by`."""

    caveat: str
    caveats: tuple[Caveat, ...]
    signature: bytes

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.caveat):
            raise InvalidCaveat(f"discharge.caveat must be 64 hex digits, got {self.caveat!r:.100}")

    @property
    def not_after(self) -> datetime | None:
        """The first of its expiries; None when it has none."""
        return min((one.at for one in self.caveats if isinstance(one, Expiry)), default=None)

    def is_signed_by(self, key: PublicKey) -> bool:
        return verify_discharge_signature(key, _content(self.caveat, self.caveats), self.signature)

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
    """What somebody presents beside a blessing: at most 64, in no order that matters."""

    entries: tuple[Discharge, ...] = ()

    def __post_init__(self) -> None:
        if len(self.entries) > MAX_DISCHARGES:
            raise InvalidCaveat(f"at most {MAX_DISCHARGES} discharges are read, got {len(self.entries)}")

    def of(self, caveat: ThirdParty) -> Iterator[Discharge]:
        """Those that say they are for `caveat`."""
        identifier = caveat.identifier
        return (one for one in self.entries if one.caveat == identifier)


def discharge(
    principal: Principal,
    caveat: ThirdParty,
    *,
    now: datetime,
    call: Call,
    registry: CaveatRegistry,
    discharges: Discharges,
    caveats: Sequence[Caveat],
) -> Discharge:
    """Meets `caveat`, with `caveats` of the discharger's own on the discharge, once its conditions hold.

    `call`, `registry` and `discharges` are what the discharger knows of who asks. Raises CannotBless when
    the caveat is another discharger's, or a condition does not hold.
    """
    if keys.encoded(caveat.discharger) != keys.encoded(principal.public_key):
        raise CannotBless(
            f"the caveat names the discharger {keys.fingerprint(caveat.discharger)}, "
            f"this one is {keys.fingerprint(principal.public_key)}"
        )
    failure = Checker(now, call, registry, discharges).first_failure(caveat.conditions)
    if failure is not None:
        raise CannotBless(f"condition {failure.position} of the caveat does not hold: {failure.message}")
    content = _content(caveat.identifier, tuple(caveats))
    return Discharge(caveat.identifier, tuple(caveats), principal.sign_discharge(content))


def encode_request(caveat: ThirdParty) -> bytes:
    """What a discharger is asked, by POST at the caveat's location: `{"version": 1, "caveat": {…}}`."""
    return canonical.encode({"version": VERSION, "caveat": caveat.to_json()})


def parse_request(data: bytes) -> ThirdParty:
    """The inverse of `encode_request`, at the discharger. Raises InvalidCaveat."""
    fields = Fields(canonical.parse_any(data), "request", ("version", "caveat"))
    fields.version(VERSION)
    caveat = kinds.parse(fields.any("caveat"), "request.caveat")
    if not isinstance(caveat, ThirdParty):
        raise InvalidCaveat("request.caveat must be a third-party caveat")
    return caveat


def _content(identifier: str, restrictions: tuple[Caveat, ...]) -> bytes:
    return canonical.encode({"version": VERSION, "caveat": identifier, "caveats": kinds.encode(restrictions)})
