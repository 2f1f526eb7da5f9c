"""Certificates of the vectors: fixed keys, fixed serial numbers, deterministic signatures, so that the same
code makes the same bytes. Built without `blessings.profile.certificates`, so that they don't only mirror it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blessings import Principal

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=365)
RESTRICTIONS = x509.ObjectIdentifier("2.25.339504356015290655442112984241921038208")
ROOT, APPLICATION, LEAF, DELEGATE = "root", "application", "leaf", "delegate"

PublicKeys = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Made:
    """A certificate, and the principal whose key it names."""

    principal: Principal
    certificate: x509.Certificate


def principal(label: str) -> Principal:
    """The principal of a label; the key is on Ed25519 when the label begins with `ed25519`.

    The secret is SHA-256 over `vanadium blessings, test vectors, <label>`: known to everybody.
    """
    secret = hashlib.sha256(f"vanadium blessings, test vectors, {label}".encode()).digest()
    if label.startswith("ed25519"):
        return Principal(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    return Principal(ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1()))


def deterministic_signature(signer: Principal, message: bytes) -> bytes:
    """As Principal's, with RFC 6979's nonce for ECDSA."""
    key = signer.signing_key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def make(
    role: str,
    name: str,
    key: str,
    issuer: Made | None = None,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    restrictions: str | None = None,
    critical: bool = True,
    path_length: int | None = None,
    change: Mapping[str, Extension | None] | None = None,
    subject: x509.Name | None = None,
    public_key: PublicKeys | None = None,
    signer: Principal | None = None,
    algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
) -> Made:
    """A certificate of the profile for `role`, but for what is given.

    `change` replaces extensions by name (`basicConstraints`, `keyUsage`, `extKeyUsage`, `subjectAltName`,
    any other for one more), None leaves one out. `restrictions` is the JSON text of the extension.
    """
    holder = principal(key)
    signer = signer or (holder if issuer is None else issuer.principal)
    names = subject if subject is not None else dc(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names if issuer is None else issuer.certificate.subject)
        .public_key(public_key or holder.public_key)
        .serial_number(_serial(role, name, key, begin, end, restrictions, change))
        .not_valid_before(begin or NOW - MINUTE)
        .not_valid_after(end or NOW + {ROOT: 10 * YEAR, APPLICATION: 30 * DAY}.get(role, HOUR))
    )
    extensions: dict[str, Extension | None] = {
        "subjectKeyIdentifier": (x509.SubjectKeyIdentifier.from_public_key(holder.public_key), False),
        "authorityKeyIdentifier": (
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key),
            False,
        ),
        **_of_role(role, name, path_length, restrictions is not None),
    }
    if restrictions is not None:
        extensions["restrictions"] = (utf8_extension(restrictions.encode()), critical)
    for extension in {**extensions, **(change or {})}.values():
        if extension is not None:
            builder = builder.add_extension(extension[0], critical=extension[1])
    secret = signer.signing_key
    if isinstance(secret, ed25519.Ed25519PrivateKey):
        return Made(holder, builder.sign(secret, None))
    certificate = builder.sign(secret, algorithm or hashes.SHA256(), ecdsa_deterministic=True)
    return Made(holder, certificate)


def dc(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in name.split(":")])


def uris(*values: str) -> Extension:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(value) for value in values]), False


def usage(*, sign: bool, digital_signature: bool | None = None) -> Extension:
    flags = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    return x509.KeyUsage(
        digital_signature=not sign if digital_signature is None else digital_signature,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
        **flags,
    ), True


def constraints(ca: bool, path_length: int | None = None) -> Extension:
    return x509.BasicConstraints(ca=ca, path_length=path_length), True


def utf8_extension(content: bytes) -> x509.UnrecognizedExtension:
    """The restrictions extension with a DER UTF8String of `content`, below 64 KiB."""
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    elif size < 0x100:
        length = bytes([0x81, size])
    else:
        length = b"\x82" + size.to_bytes(2, "big")
    return x509.UnrecognizedExtension(RESTRICTIONS, b"\x0c" + length + content)


def flipped(made: Made) -> Made:
    """With the last bit of its signature changed."""
    der = bytearray(made.certificate.public_bytes(Encoding.DER))
    der[-1] ^= 1
    return Made(made.principal, x509.load_der_x509_certificate(bytes(der)))


def _of_role(role: str, name: str, path_length: int | None, restricted: bool) -> dict[str, Extension | None]:
    signs = role in (ROOT, APPLICATION)
    if role == APPLICATION and path_length is None:
        path_length = 0
    made: dict[str, Extension | None] = {
        "basicConstraints": constraints(signs, path_length),
        "keyUsage": usage(sign=signs),
    }
    if signs:
        made["subjectAltName"] = uris(f"spiffe://{name.split(':')[0]}")
    elif not restricted:
        both: Sequence[x509.ObjectIdentifier] = [
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
        ]
        made["extKeyUsage"] = (x509.ExtendedKeyUsage(both), False)
        made["subjectAltName"] = uris("spiffe://" + name.replace(":", "/"))
    return made


def _serial(*what: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:15], "big") | 1
