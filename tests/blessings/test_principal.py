"""Keys: what they sign, and what they refuse to be."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from blessings import InvalidKey, KeyKind, Principal, fingerprint, keys, verify_signature


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


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_of_each_kind_signs_and_survives_pem(kind: KeyKind) -> None:
    principal = Principal.create(kind)
    again = Principal.from_pem(principal.to_pem())
    assert again.public_key == principal.public_key
    assert verify_signature(principal.public_key, b"message", again.sign(b"message"))
    assert not verify_signature(principal.public_key, b"another", again.sign(b"message"))
    assert principal.csr().is_signature_valid


def test_each_kind_has_an_algorithm_name() -> None:
    named = {kind: Principal.create(kind).signature_algorithm for kind in KeyKind}
    assert named == {KeyKind.P256: "ecdsa-p256-sha256", KeyKind.ED25519: "ed25519"}


def test_keys_of_another_kind_are_refused_everywhere() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(InvalidKey, match="RSA"):
        Principal.from_pem(pem)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(InvalidKey, match="RSA"):
        keys.parse_public_key(public)
    with pytest.raises(InvalidKey, match="not a public key"):
        keys.parse_public_key("")


def test_ed25519_is_refused_where_nobody_asked_for_it() -> None:
    with pytest.raises(InvalidKey, match="only P-256 keys"):
        keys.check_public_key(Principal.create(KeyKind.ED25519).public_key)


def test_a_public_key_survives_pem_and_der() -> None:
    for kind in KeyKind:
        key = Principal.create(kind).public_key
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert keys.parse_public_key(pem) == keys.parse_public_key(keys.encoded(key)) == key
