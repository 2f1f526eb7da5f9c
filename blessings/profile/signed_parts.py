"""The parts of a certificate that its signature covers, as the very bytes that were signed.

`cryptography` has already parsed the certificate, so its structure is that of RFC 5280, section 4.1, and this
code only walks over it. Comparing and verifying with the objects of `cryptography` would parse names and keys
again for each certificate, which costs as much as a signature check.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

_VERSION_TAG = 0xA0


@dataclass(frozen=True)
class SignedParts:
    """The parts of one certificate, each in DER except the signature.

    inner_algorithm, outer_algorithm: the AlgorithmIdentifier inside of the signed part, and the one after it.
    unused_bits: the number of unused bits in the signature's BIT STRING: 0 in DER, and ignored by some
        parsers.
    """

    signed: bytes
    inner_algorithm: bytes
    issuer: bytes
    subject: bytes
    outer_algorithm: bytes
    unused_bits: int
    signature: bytes


def split(certificate: x509.Certificate) -> SignedParts:
    """The parts of `certificate`."""
    der = certificate.public_bytes(Encoding.DER)
    begin, _ = _value(der, 0)
    inside, signed_end = _value(der, begin)
    outer_end = _end(der, signed_end)
    signature, end = _value(der, outer_end)
    serial = _end(der, inside) if der[inside] == _VERSION_TAG else inside
    algorithm = _end(der, serial)
    issuer = _end(der, algorithm)
    validity = _end(der, issuer)
    subject = _end(der, validity)
    return SignedParts(
        signed=der[begin:signed_end],
        inner_algorithm=der[algorithm:issuer],
        issuer=der[issuer:validity],
        subject=der[subject : _end(der, subject)],
        outer_algorithm=der[signed_end:outer_end],
        unused_bits=der[signature],
        signature=der[signature + 1 : end],
    )


def _value(der: bytes, at: int) -> tuple[int, int]:
    """Where the value of the element at `at` begins and ends (X.690, section 8.1.3)."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2, at + 2 + length
    begin = at + 2 + (length & 0x7F)
    return begin, begin + int.from_bytes(der[at + 2 : begin], "big")


def _end(der: bytes, at: int) -> int:
    return _value(der, at)[1]
