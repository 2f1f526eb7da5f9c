"""Principals: key pairs, which identify a process.

    >>> principal = Principal.create()
    >>> verify_signature(principal.public_key, b"message", principal.sign(b"message"))
    True

The private key stays in the memory of the process that made it.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from blessings import keys
from blessings.errors import InvalidKey
from blessings.keys import EVERY_KIND, KeyKind, PrivateKey, PublicKey, check_public_key, fingerprint

_ALGORITHMS = {KeyKind.P256: "ecdsa-p256-sha256", KeyKind.ED25519: "ed25519"}
# A signature for an application must never be valid on a certificate, a discharge or a TLS handshake, so the
# signed bytes begin with a purpose, as in the original Vanadium.
MESSAGE = b"vanadium blessings, message signature, version 1\x00"
DISCHARGE = b"vanadium blessings, discharge, version 1\x00"


class Principal:
    """A key pair, on P-256 unless Ed25519 is asked for."""

    def __init__(self, private_key: PrivateKey) -> None:
        """Raises InvalidKey for a key of another kind."""
        check_public_key(private_key.public_key(), EVERY_KIND)
        self._private_key = private_key

    @classmethod
    def create(cls, kind: KeyKind = KeyKind.P256) -> Principal:
        """A principal with a new key from the system's randomness."""
        return cls(keys.generate(kind))

    @classmethod
    def from_pem(cls, pem: bytes) -> Principal:
        """The principal whose PKCS #8 private key is `pem`. Raises InvalidKey."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidKey("this is not an unencrypted PEM private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise InvalidKey(f"a principal's key must be on P-256 or Ed25519, got {type(key).__name__}")
        return cls(key)

    @property
    def public_key(self) -> PublicKey:
        return self._private_key.public_key()

    @property
    def signing_key(self) -> PrivateKey:
        """The private key itself, for `cryptography`'s certificate builders."""
        return self._private_key

    @property
    def signature_algorithm(self) -> str:
        """The algorithm of `sign`: `ecdsa-p256-sha256` or `ed25519`."""
        return _ALGORITHMS[keys.kind_of(self.public_key)]

    def sign(self, message: bytes) -> bytes:
        """A signature over the purpose prefix and `message`; `verify_signature` checks it."""
        return keys.sign(self._private_key, MESSAGE + message)

    def sign_discharge(self, content: bytes) -> bytes:
        """A signature that makes `content` a discharge. `sign` can never make such a signature."""
        return keys.sign(self._private_key, DISCHARGE + content)

    def csr(self) -> x509.CertificateSigningRequest:
        """A PKCS #10 request (RFC 2986) that proves possession of the key and asks for no name.

        The issuer decides the name from other evidence.
        """
        builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
        return builder.sign(self._private_key, keys.certificate_hash(self._private_key))

    def to_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM. For stores and TLS libraries only."""
        return self._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return f"Principal({fingerprint(self.public_key)})"


def verify_signature(public_key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether `Principal.sign` made `signature` over `message` with that key."""
    return keys.is_signed(public_key, MESSAGE + message, signature)


def verify_discharge_signature(public_key: PublicKey, content: bytes, signature: bytes) -> bool:
    """Whether `Principal.sign_discharge` made `signature` over `content` with that key."""
    return keys.is_signed(public_key, DISCHARGE + content, signature)
