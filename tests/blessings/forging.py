"""Certificates that nothing in `blessings` would make, for attacks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from blessings import Authority, Blessing, Name, Principal, PublicKey
from blessings.keys import certificate_hash
from blessings.profile import certificates as profile
from blessings.profile.restrictions import OID as RESTRICTIONS_OID
from tests.chains import HOUR, NOW

Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]


def certificate(
    signer: Principal,
    issuer: x509.Name,
    key: PublicKey,
    *,
    subject: x509.Name | None = None,
    ca: bool | None = False,
    path_length: int | None = None,
    usage: x509.KeyUsage | None = None,
    uris: tuple[str, ...] = (),
    restrictions: bytes | None = None,
    critical: bool = True,
    extra: tuple[x509.ExtensionType, ...] = (),
    begin: datetime = NOW,
    end: datetime = NOW + HOUR,
    hash_algorithm: hashes.SHA256 | hashes.SHA384 | None = None,
) -> x509.Certificate:
    """Any certificate at all. No basic constraints with `ca` None; `restrictions` is a value."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]) if subject is None else subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    if ca is not None:
        constraints = x509.BasicConstraints(ca=ca, path_length=path_length)
        builder = builder.add_extension(constraints, critical=True)
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    if uris:
        sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(sans, critical=False)
    if restrictions is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(RESTRICTIONS_OID, restrictions), critical=critical
        )
    for one in extra:
        builder = builder.add_extension(one, critical=True)
    algorithm = hash_algorithm or certificate_hash(signer.signing_key)
    return builder.sign(signer.signing_key, algorithm)


def subject_of(name: str) -> x509.Name:
    """One DC a component, whatever is in it."""
    return x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in name.split(":")])


LEAF_USAGE = profile._key_usage(sign_certificates=False)
SIGNER_USAGE = profile._key_usage(sign_certificates=True)


def leaf_under(
    signer: Principal,
    issuer: Blessing,
    name: str | None,
    *extensions: x509.ExtensionType,
    sans: list[str] | None = None,
    key: PublicKey | None = None,
    begin: datetime = NOW,
    end: datetime = NOW + HOUR,
) -> Blessing:
    """A leaf that no Authority would make; `extensions` are critical ones."""
    made = certificate(
        signer,
        issuer.leaf.subject,
        key or Principal.create().public_key,
        usage=LEAF_USAGE,
        uris=tuple(sans) if sans is not None else (Name.parse(name or "").spiffe_id,),
        extra=extensions,
        begin=begin,
        end=end,
    )
    return Blessing((made, *issuer.certificates))


def signing_under(issuer: Authority, principal: Principal, name: str) -> Blessing:
    """A signing certificate that no Authority would make."""
    made = profile.build_signing_certificate(
        Name.parse(name),
        principal.public_key,
        issuer=issuer.certificate,
        issuer_key=issuer.principal.signing_key,
        not_before=NOW,
        not_after=NOW + HOUR,
        path_length=0,
    )
    return Blessing((made, *issuer.blessing.certificates))
