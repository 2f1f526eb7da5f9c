"""Issuers as other authorities make them: each is right but for one thing, in its root or in itself.

made = foreign(issuer=Change(more=[(names, False)]))
made.chain()        # a replica below it, an application, the issuer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.blessings.der_tree import Node, parse

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Extension = tuple[x509.ExtensionType, bool]
BOTH = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
# The places in the sequence that is signed (RFC 5280, section 4.1).
VERSION, SERIAL, ALGORITHM, VALIDITY, EXTENSIONS = (0,), (1,), (2,), (4,), (7,)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Change:
    """What is different in one certificate.

    extensions: replace those of the same kind; None leaves one out.
    forge: changes the tree of what is signed, before it is signed.
    authority: makes the authority key identifier from the issuer (None for a root) and the right identifier.
    """

    extensions: Mapping[type[x509.ExtensionType], Extension | None] = field(default_factory=dict)
    more: Sequence[Extension] = ()
    path_length: int | None = None
    key: Callable[[], Key] = p256
    algorithm: Any = None
    begin: datetime = NOW - DAY
    end: datetime = NOW + 90 * DAY
    serial: int | None = None
    forge: Callable[[Node], Node] | None = None
    sha1: bool = False
    signed_by_another: bool = False
    authority: Callable[[Signing | None, bytes], x509.AuthorityKeyIdentifier] | None = None


@dataclass(frozen=True)
class Signing:
    """A signing certificate with its key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Foreign:
    """The root `acme`, and an issuer for `acme:prod` below it."""

    root: Signing
    issuer: Signing

    @property
    def files(self) -> dict[str, bytes]:
        """As they are mounted."""
        return {"tls.crt": self.issuer.pem, "tls.key": self.issuer.key_pem, "ca.crt": self.root.pem}

    @cached_property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """A replica's chain below the issuer, whatever the issuer may do."""
        web = _made(Change(end=NOW + DAY), ("acme", "prod", "web"), self.issuer, path_length=0)
        leaf = _made(Change(end=NOW + DAY / 24), ("acme", "prod", "web", "web-1"), web, leaf=True)
        return leaf.certificate, web.certificate, self.issuer.certificate


def foreign(root: Change | None = None, issuer: Change | None = None) -> Foreign:
    """A root and an issuer with those changes."""
    above = _made(root or Change(end=NOW + 900 * DAY), ("acme",), None)
    return Foreign(above, _made(issuer or Change(), ("acme", "prod"), above))


def usage(**allowed: bool) -> x509.KeyUsage:
    """A key usage with these alone."""
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **allowed})


def _made(
    change: Change,
    name: tuple[str, ...],
    above: Signing | None,
    *,
    path_length: int | None = None,
    leaf: bool = False,
) -> Signing:
    key = change.key()
    subject = x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in name])
    signer = key if above is None else above.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(key.public_key())
        .serial_number(change.serial or x509.random_serial_number())
        .not_valid_before(change.begin)
        .not_valid_after(change.end)
    )
    length = change.path_length if path_length is None else path_length
    extensions: dict[type[x509.ExtensionType], Extension | None] = {
        x509.BasicConstraints: (x509.BasicConstraints(not leaf, None if leaf else length), True),
        x509.KeyUsage: (
            usage(digital_signature=True) if leaf else usage(key_cert_sign=True, crl_sign=True),
            True,
        ),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        x509.AuthorityKeyIdentifier: (_authority(change, above, signer), False),
        x509.SubjectAlternativeName: (
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://" + "/".join(name if leaf else name[:1]))]
            ),
            False,
        ),
        **({x509.ExtendedKeyUsage: (x509.ExtendedKeyUsage(BOTH), False)} if leaf else {}),
        **change.extensions,
    }
    for one in (*extensions.values(), *change.more):
        if one is not None:
            builder = builder.add_extension(one[0], critical=one[1])
    certificate = builder.sign(
        p256() if change.signed_by_another else signer, change.algorithm or hashes.SHA256()
    )
    if change.forge is not None:
        # Its signature is made anew.
        certificate = _forged(certificate, change, signer)
    return Signing(certificate, key)


def _authority(change: Change, above: Signing | None, signer: Key) -> x509.AuthorityKeyIdentifier:
    """As every authority writes it: the identifier that its own certificate has."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    if above is not None:
        with suppress(x509.ExtensionNotFound):
            extensions = above.certificate.extensions
            identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    if change.authority is not None:
        return change.authority(above, identifier.digest)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _forged(certificate: x509.Certificate, change: Change, signer: Key) -> x509.Certificate:
    tree = parse(certificate.public_bytes(Encoding.DER))
    signed = (tree.children or ())[0]
    if change.forge is not None:
        signed = change.forge(signed)
    algorithm = next(one for one in signed.children or () if one.tag == 0x30)
    message = signed.encode()
    hashed = hashes.SHA1() if change.sha1 else hashes.SHA256()  # noqa: S303 - others refuse it
    if isinstance(signer, rsa.RSAPrivateKey):
        signature = signer.sign(message, padding.PKCS1v15(), hashed)
    else:
        signature = signer.sign(message, ec.ECDSA(hashed))
    made = Node(tree.tag, children=(signed, algorithm, Node(0x03, b"\x00" + signature)))
    return x509.load_der_x509_certificate(made.encode())
