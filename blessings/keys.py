"""Keys: the kinds that are accepted, and their fingerprints.

P-256 is the default. Ed25519 is available for blessings, on request; some managed API servers refuse it in
serving certificates. Every other kind of key is refused when it is read.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from blessings.errors import InvalidKey

_ECDSA = ec.ECDSA(hashes.SHA256())
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyKind(StrEnum):
    """A kind of key; the value is its name in messages."""

    P256 = "P-256"
    ED25519 = "Ed25519"


P256_ONLY = frozenset({KeyKind.P256})
EVERY_KIND = frozenset(KeyKind)


def kind_of(key: object) -> KeyKind:
    """The kind of a public key. Raises InvalidKey for a kind that is not accepted."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise InvalidKey(f"only keys on P-256 and Ed25519 are accepted, got one on {key.curve.name}")
        return KeyKind.P256
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InvalidKey(f"only keys on P-256 and Ed25519 are accepted, got {type(key).__name__}")
    return KeyKind.ED25519


def check_public_key(key: object, accepted: frozenset[KeyKind] = P256_ONLY) -> PublicKey:
    """Returns `key` when its kind is accepted. Raises InvalidKey."""
    kind = kind_of(key)
    if kind not in accepted:
        raise InvalidKey(f"only {' and '.join(sorted(accepted))} keys are accepted here, got {kind}")
    return cast(PublicKey, key)


def generate(kind: KeyKind) -> PrivateKey:
    """A new private key from the system's randomness."""
    if kind is KeyKind.ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def certificate_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """The hash for certificates signed by `key`; None where the algorithm includes one (RFC 8410)."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def sign(key: PrivateKey, message: bytes) -> bytes:
    """An ECDSA signature with SHA-256 in DER, or an Ed25519 signature of 64 bytes."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, _ECDSA)


def is_signed(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `sign` made `signature` over `message` with that key."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        return False
    return True


def encoded(key: PublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo of a key (RFC 5280). Equal keys have equal encodings."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parse_public_key(data: bytes | str) -> PublicKey:
    """The key in a SubjectPublicKeyInfo, given as PEM text or DER bytes. Raises InvalidKey."""
    try:
        key = load_pem_public_key(data.encode()) if isinstance(data, str) else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey("this is not a public key (SubjectPublicKeyInfo)") from error
    return check_public_key(key, EVERY_KIND)


def fingerprint(public_key: PublicKey) -> str:
    """SHA-256 over the key's DER SubjectPublicKeyInfo (RFC 5280), as `3d:92:…`, 32 bytes."""
    return hashlib.sha256(encoded(public_key)).digest().hex(":")
