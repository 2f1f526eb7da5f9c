"""An authority as cert-manager's CA issuer is one, and its Secret as a kubelet mounts it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

_SWAPS = count(1)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def key_pem(key: Key) -> bytes:
    """In cert-manager's default encoding, PKCS #1, which for ECDSA is SEC 1."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def literal_subject(*components: str) -> x509.Name:
    """As Go spells `literalSubject: "DC=prod,DC=acme"`: the root first, printable strings."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one, _type=_ASN1Type.PrintableString)
            for one in components
        ]
    )


@dataclass
class CertificateAuthority:
    """A root, `Certificate` of a SelfSigned issuer; `issue` is the `Certificate` of an issuer for it."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(
        cls,
        now: datetime,
        *,
        name: str = "acme",
        key: ec.EllipticCurvePrivateKey | None = None,
        days: int = 3650,
    ) -> CertificateAuthority:
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(
            literal_subject(name),
            key.public_key(),
            literal_subject(name),
            key,
            now,
            timedelta(days=days),
            name,
        )
        return cls(name, key, certificate)

    def issue(
        self,
        now: datetime,
        *,
        components: tuple[str, ...] = ("acme", "prod"),
        lifetime: timedelta = timedelta(days=365),
        trust_domain: str = "acme",
        ca: bool = True,
        path_length: int | None = None,
        key: Key | None = None,
        key_identifier: bool = True,
    ) -> dict[str, bytes]:
        """The Secret's data: a new key and its certificate, and the root. Keywords as an attacker, or a
        mistake, would have them."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(
            literal_subject(*components),
            key.public_key(),
            self.certificate.subject,
            self.key,
            now,
            lifetime,
            trust_domain,
            ca=ca,
            path_length=path_length,
            key_identifier=key_identifier,
        )
        return {
            "tls.crt": certificate.public_bytes(Encoding.PEM),
            "tls.key": key_pem(key),
            "ca.crt": self.certificate.public_bytes(Encoding.PEM),
        }


def swap(volume: Path, data: dict[str, bytes]) -> None:
    """What the kubelet does with a Secret's volume: new files in a new directory, and one renaming."""
    volume.mkdir(exist_ok=True)
    link = volume / "..data"
    before = link.resolve() if link.is_symlink() else None
    directory = volume / f"..2026_11_24_{next(_SWAPS)}"
    directory.mkdir()
    for name, content in data.items():
        (directory / name).write_bytes(content)
    (volume / "..data_tmp").symlink_to(directory.name)
    os.rename(volume / "..data_tmp", link)
    for name in data:
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(Path("..data") / name)
    if before is not None:
        shutil.rmtree(before)


def _certificate(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta,
    trust_domain: str,
    *,
    ca: bool = True,
    path_length: int | None = None,
    key_identifier: bool = True,
) -> x509.Certificate:
    begin = now.astimezone(UTC).replace(microsecond=0)
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )
    if key_identifier:
        itself = x509.SubjectKeyIdentifier.from_public_key(public_key)
        builder = builder.add_extension(itself, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
