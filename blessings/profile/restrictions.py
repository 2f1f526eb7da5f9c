"""The critical extension that contains caveats and marks a certificate as a delegation.

Its value is a DER UTF8String with canonical JSON (`blessings.encoding.canonical`):

    {"caveats":[{"at":"2026-11-24T12:00:00Z","kind":"expiry"}],"delegation":true,"version":1}

Its object identifier is our own, in 2.25.<UUID>, and it is always critical: a verifier that does not know it
must refuse the certificate (RFC 5280, section 4.2). Go's parser reads no arc above 31 bits and refuses the
certificate as malformed, which is also a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from blessings.caveats import kinds
from blessings.caveats.kinds import Caveat
from blessings.encoding import canonical
from blessings.encoding.fields import Fields
from blessings.errors import InvalidCaveat

# UUID ff6a2919-cd9d-4f72-9875-d6685cf39780
OID = ObjectIdentifier("2.25.339504356015290655442112984241921038208")
VERSION = 1
_UTF8_STRING = 0x0C


@dataclass(frozen=True)
class Restrictions:
    """The content of the extension. A certificate with neither a delegation nor a caveat has no extension."""

    delegation: bool
    caveats: tuple[Caveat, ...]

    def to_extension(self) -> x509.UnrecognizedExtension:
        """The extension. Raises InvalidCaveat when it would be too long."""
        return x509.UnrecognizedExtension(OID, _wrap(canonical.encode(self.to_json())))

    def to_json(self) -> canonical.JSON:
        return {
            "version": VERSION,
            "delegation": self.delegation,
            "caveats": kinds.encode(self.caveats),
        }


def parse(value: bytes) -> Restrictions:
    """The restrictions in an extension's DER value; the inverse of `to_extension`. Raises InvalidCaveat."""
    fields = Fields(canonical.parse(_unwrap(value)), "restrictions", ("version", "delegation", "caveats"))
    fields.version(VERSION)
    delegation = fields.any("delegation")
    if not isinstance(delegation, bool):
        raise InvalidCaveat("restrictions.delegation must be true or false")
    read = kinds.parse_all(fields.list("caveats"), "restrictions.caveats")
    if not delegation and not read:
        raise InvalidCaveat("the restrictions contain neither a delegation nor a caveat")
    return Restrictions(delegation, read)


def _wrap(content: bytes) -> bytes:
    if len(content) > canonical.MAX_BYTES:
        raise InvalidCaveat(f"caveats take {len(content)} bytes, at most {canonical.MAX_BYTES} fit")
    return bytes([_UTF8_STRING]) + _length(len(content)) + content


def _unwrap(value: bytes) -> bytes:
    """The content of a UTF8String. DER has one encoding of it, so the value is compared with that one."""
    for header in (2, 3, 4):
        content = value[header:]
        if value[:header] == bytes([_UTF8_STRING]) + _length(len(content)):
            return content
    raise InvalidCaveat("the extension's value is no DER UTF8String")


def _length(length: int) -> bytes:
    """A DER length (X.690, section 8.1.3) below 2^16."""
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
