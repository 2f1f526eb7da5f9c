"""Keys: what they sign, and what they refuse to be."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from blessings import InvalidKey, Principal, fingerprint, verify_signature


def test_a_signature_verifies_for_its_message_and_key_only() -> None:
    principal, other = Principal.create(), Principal.create()
    signature = principal.sign(b"message")
    assert verify_signature(principal.public_key, b"message", signature)
    assert not verify_signature(principal.public_key, b"another", signature)
    assert not verify_signature(other.public_key, b"message", signature)
    assert not verify_signature(principal.public_key, b"message", b"no signature")


def test_attack_a_message_that_is_a_certificate_body_does_not_become_a_certificate_signature() -> None:
    principal = Principal.create()
    signature = principal.sign(b"to be signed")
    assert isinstance(principal.public_key, ec.EllipticCurvePublicKey)
    with pytest.raises(InvalidSignature):
        principal.public_key.verify(signature, b"to be signed", ec.ECDSA(hashes.SHA256()))


def test_a_key_on_another_curve_is_refused() -> None:
    with pytest.raises(InvalidKey, match="secp384r1"):
        Principal(ec.generate_private_key(ec.SECP384R1()))


def test_a_principal_survives_pem_and_shows_no_key() -> None:
    principal = Principal.create()
    again = Principal.from_pem(principal.to_pem())
    assert fingerprint(again.public_key) == fingerprint(principal.public_key)
    assert repr(principal) == f"Principal({fingerprint(principal.public_key)})"


@pytest.mark.parametrize(
    "pem", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_pem_that_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidKey):
        Principal.from_pem(pem)
