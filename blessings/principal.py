"""Principals: a key pair, which is all that a process is.

    >>> principal = Principal.create()
    >>> verify_signature(principal.public_key, b"message", principal.sign(b"message"))
    True

The private key stays in the memory of the process that made it.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from blessings.errors import InvalidKey

PublicKey = ec.EllipticCurvePublicKey

SIGNATURE_ALGORITHM = "ecdsa-p256-sha256"
# A signature for an application must never pass for one on a certificate or a TLS handshake,
# so what is signed starts with a purpose, as in the original.
_PURPOSE = b"vanadium blessings, message signature, version 1\x00"


class Principal:
    """A P-256 key pair."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        """Raises InvalidKey for a curve other than P-256."""
        check_public_key(private_key.public_key())
        self._private_key = private_key

    @classmethod
    def create(cls) -> Principal:
        """A principal with a new key from the system's randomness."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> Principal:
        """The principal whose PKCS #8 private key is `pem`. Raises InvalidKey."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError) as error:
            raise InvalidKey("this is no unencrypted PEM private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidKey(f"a principal's key is an EC key on P-256, got {type(key).__name__}")
        return cls(key)

    @property
    def public_key(self) -> PublicKey:
        return self._private_key.public_key()

    @property
    def signing_key(self) -> ec.EllipticCurvePrivateKey:
        """The private key itself, for `cryptography`'s certificate builders."""
        return self._private_key

    def sign(self, message: bytes) -> bytes:
        """A DER ECDSA signature over the purpose prefix and `message`; `verify_signature` checks it."""
        return self._private_key.sign(_PURPOSE + message, ec.ECDSA(hashes.SHA256()))

    def csr(self) -> x509.CertificateSigningRequest:
        """A PKCS #10 request (RFC 2986) that proves possession of the key and asks for no name:
        who this is, the issuer decides from other evidence."""
        builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
        return builder.sign(self._private_key, hashes.SHA256())

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM. For stores and TLS libraries only."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"Principal({fingerprint(self.public_key)})"


def verify_signature(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `signature` was made by `Principal.sign` over `message` with that key."""
    try:
        public_key.verify(signature, _PURPOSE + message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def check_public_key(key: object) -> PublicKey:
    """`key` itself when it is one that we accept. Raises InvalidKey for anything but EC on P-256."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidKey(f"only EC keys on P-256 are accepted, got {type(key).__name__}")
    if not isinstance(key.curve, ec.SECP256R1):
        raise InvalidKey(f"only EC keys on P-256 are accepted, got one on {key.curve.name}")
    return key


def fingerprint(public_key: PublicKey) -> str:
    """SHA-256 over the key's DER SubjectPublicKeyInfo (RFC 5280), as `3d:92:…`, 32 bytes."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest().hex(":")
