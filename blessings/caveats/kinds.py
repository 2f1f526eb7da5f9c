"""Caveats: conditions on a certificate of a chain, or on a discharge. All of them must hold.

| caveat | JSON | holds |
|---|---|---|
| Expiry | `{"kind": "expiry", "at": "2026-11-24T12:00:00Z"}` | before that time |
| Methods | `{"kind": "methods", "methods": ["Get"]}` | for a call of one of these methods |
| PeerBlessings | `{"kind": "peerBlessings", "patterns": ["acme:web"]}` | for a verifier with a matching name
|
| ThirdParty | `{"kind": "thirdParty", …}` | with a discharge that its discharger signed |
| Custom | `{"kind": "example.com/zone", "parameters": …}` | when the verifier's registered check passes |

A kind that the verifier does not know always fails, because a restriction that is not understood cannot be
met. `parse` keeps such a caveat as Unknown, so that its chain can be forwarded, shown, and refused for the
right reason.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from blessings import keys
from blessings.encoding import canonical
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields, spell_bytes
from blessings.encoding.times import rfc3339
from blessings.errors import InvalidCaveat, InvalidKey, InvalidPattern
from blessings.keys import PublicKey
from blessings.names import Name
from blessings.patterns import Pattern

MAX_CAVEATS = 32
NONCE_BYTES = 16
_MAX_LOCATION = 2048
_MAX_NESTED_CONDITIONS = 4
# Begins with a domain name of the caveat's author, so that no two authors give one kind different meanings.
_CUSTOM_KIND = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+/[A-Za-z0-9._/-]{1,200}")
_METHOD = re.compile(r"[\x21-\x7e]{1,256}")


@dataclass(frozen=True)
class Expiry:
    """Holds before `at`, which must have a time zone and whole seconds."""

    at: datetime

    def __post_init__(self) -> None:
        if self.at.tzinfo is None or self.at.microsecond:
            raise InvalidCaveat(f"an expiry has a time zone and whole seconds, got {self.at.isoformat()}")

    def to_json(self) -> JSON:
        return {"kind": "expiry", "at": rfc3339(self.at)}


@dataclass(frozen=True)
class Methods:
    """Holds for calls of these methods. A method is 1 to 256 printable ASCII characters, compared whole."""

    methods: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.methods:
            raise InvalidCaveat("a method caveat needs at least one method, got none")
        for method in self.methods:
            if not _METHOD.fullmatch(method):
                raise InvalidCaveat(f"a method is 1 to 256 printable ASCII characters, got {method!r:.100}")

    def to_json(self) -> JSON:
        return {"kind": "methods", "methods": list(self.methods)}


@dataclass(frozen=True)
class PeerBlessings:
    """Holds when the blessing is presented to a verifier with a name that matches one of these patterns."""

    patterns: tuple[Pattern, ...]

    def __post_init__(self) -> None:
        if not self.patterns:
            raise InvalidCaveat("a peer blessings caveat needs at least one pattern, got none")

    def to_json(self) -> JSON:
        return {"kind": "peerBlessings", "patterns": [str(pattern) for pattern in self.patterns]}


@dataclass(frozen=True)
class ThirdParty:
    """Holds with a discharge signed by `discharger`, which the client asks for at `location` (a URL).

    The discharger checks `conditions` before it signs. `nonce` is 16 random bytes, so that a discharge of one
    caveat is never valid for another.
    """

    discharger: PublicKey
    location: str
    nonce: bytes
    conditions: tuple[Caveat, ...] = ()

    def __post_init__(self) -> None:
        if len(self.nonce) != NONCE_BYTES:
            raise InvalidCaveat(
                f"a third-party caveat's nonce has {NONCE_BYTES} bytes, got {len(self.nonce)}"
            )
        if not 0 < len(self.location) <= _MAX_LOCATION or not self.location.isascii():
            raise InvalidCaveat(
                f"a discharger's location is a URL of 1 to {_MAX_LOCATION} ASCII characters, "
                f"got {self.location!r:.100}"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThirdParty) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.nonce)

    @property
    def identifier(self) -> str:
        """SHA-256 over the caveat's canonical JSON, in hex. A discharge names its caveat by this value."""
        return hashlib.sha256(canonical.encode(self.to_json())).hexdigest()

    def to_json(self) -> JSON:
        return {
            "kind": "thirdParty",
            "discharger": spell_bytes(keys.encoded(self.discharger)),
            "location": self.location,
            "nonce": spell_bytes(self.nonce),
            "conditions": [condition.to_json() for condition in self.conditions],
        }


@dataclass(frozen=True)
class Custom:
    """A user-defined caveat: `kind` is `<domain>/<word>`, `parameters` are JSON without fractions.

    It holds when the verifier's registry knows the kind and the registered check returns None.
    """

    kind: str
    parameters: JSON = field(hash=False, default=None)

    def __post_init__(self) -> None:
        if not _CUSTOM_KIND.fullmatch(self.kind):
            raise InvalidCaveat(f"a user-defined kind is '<domain>/<word>', got {self.kind!r:.100}")
        canonical.encode(self.parameters)

    def to_json(self) -> JSON:
        return {"kind": self.kind, "parameters": self.parameters}


@dataclass(frozen=True)
class Unknown:
    """A caveat that this program cannot read. It is kept unchanged, and always fails."""

    value: JSON = field(hash=False)

    @property
    def kind(self) -> str:
        return str(self.value.get("kind")) if isinstance(self.value, dict) else ""

    def to_json(self) -> JSON:
        return self.value


Caveat = Expiry | Methods | PeerBlessings | ThirdParty | Custom | Unknown


@dataclass(frozen=True)
class Call:
    """How a presented blessing is used: the method called, and the verifier's own valid names."""

    method: str | None = None
    own_names: tuple[Name, ...] = ()


# Returns why a caveat does not hold, or None when it holds.
Check = Callable[[JSON, Call, datetime], str | None]


@dataclass(frozen=True)
class CaveatRegistry:
    """The user-defined caveats that a verifier knows, by kind."""

    checks: Mapping[str, Check] = field(default_factory=lambda: MappingProxyType({}))

    def with_check(self, kind: str, check: Check) -> CaveatRegistry:
        """This registry with one more kind. Raises InvalidCaveat for a known kind or a malformed one."""
        Custom(kind)
        if kind in self.checks:
            raise InvalidCaveat(f"the caveat {kind} is registered already")
        return CaveatRegistry(MappingProxyType({**self.checks, kind: check}))


def encode(caveats: Iterable[Caveat]) -> list[JSON]:
    """The JSON of `caveats`, in their order. Raises InvalidCaveat for more than 32."""
    values = [caveat.to_json() for caveat in caveats]
    if len(values) > MAX_CAVEATS:
        raise InvalidCaveat(f"a certificate may have at most {MAX_CAVEATS} caveats, got {len(values)}")
    return values


def parse_all(values: Iterable[JSON], where: str, depth: int = 0) -> tuple[Caveat, ...]:
    """The inverse of `encode`. Raises InvalidCaveat, whose message begins with `where`."""
    listed = list(values)
    if len(listed) > MAX_CAVEATS:
        raise InvalidCaveat(f"{where}: at most {MAX_CAVEATS} caveats are read, got {len(listed)}")
    return tuple(parse(value, f"{where}[{position}]", depth) for position, value in enumerate(listed))


def parse(value: JSON, where: str = "caveat", depth: int = 0) -> Caveat:
    """The caveat that a JSON value encodes. Raises InvalidCaveat for a known kind in a wrong form."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise InvalidCaveat(f"{where} must be an object with a string `kind`")
    kind = str(value["kind"])
    try:
        if kind == "expiry":
            return Expiry(Fields(value, where, ("kind", "at")).time("at"))
        if kind == "methods":
            return Methods(tuple(Fields(value, where, ("kind", "methods")).texts("methods")))
        if kind == "peerBlessings":
            patterns = Fields(value, where, ("kind", "patterns")).texts("patterns")
            return PeerBlessings(tuple(Pattern.parse(pattern) for pattern in patterns))
        if kind == "thirdParty":
            return _parse_third_party(value, where, depth)
    except (InvalidPattern, InvalidKey) as error:
        raise InvalidCaveat(f"{where}: {error}") from error
    if _CUSTOM_KIND.fullmatch(kind) and set(value) == {"kind", "parameters"}:
        return Custom(kind, value["parameters"])
    return Unknown(value)


def _parse_third_party(value: JSON, where: str, depth: int) -> ThirdParty:
    if depth >= _MAX_NESTED_CONDITIONS:
        raise InvalidCaveat(f"{where}: conditions are nested more than {_MAX_NESTED_CONDITIONS} deep")
    fields = Fields(value, where, ("kind", "discharger", "location", "nonce", "conditions"))
    key = fields.bytes("discharger")
    discharger = keys.parse_public_key(key)
    if keys.encoded(discharger) != key:
        raise InvalidCaveat(f"{where}.discharger must be in DER")
    conditions = parse_all(fields.list("conditions"), f"{where}.conditions", depth + 1)
    return ThirdParty(discharger, fields.text("location"), fields.bytes("nonce"), conditions)
