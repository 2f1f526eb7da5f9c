"""The certificate profile: what a certificate of ours carries, and how it is read back.

| | signing certificate (root, application) | leaf (replica, service) |
|---|---|---|
| blessing name | its subject, one DC attribute a component | its SPIFFE ID, and the subject likewise |
| URI SAN | the trust domain, without a path | the SPIFFE ID of its name |
| basic constraints | CA:TRUE, path length unless a root | CA:FALSE |
| key usage | keyCertSign, cRLSign | digitalSignature |
| extended key usage | none | clientAuth and serverAuth, or one of them |

A SPIFFE signing certificate must not have a path in its SPIFFE ID (X509-SVID, section 3.2), which is why
the name of an application certificate stands in its subject. DC (RFC 4519) is the one attribute of names
that has no upper bound below our components' 253 characters. A private extension under a 2.25.<UUID> object
identifier will not do: Go's parser reads no arc above 31 bits, so every Go program would refuse the chain.

Sources: RFC 5280; https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from blessings.errors import InvalidCertificate, InvalidKey, InvalidName
from blessings.names import Name
from blessings.principal import PublicKey, check_public_key

# Verifiers' clocks may be behind ours.
BACKDATE = timedelta(seconds=60)

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH

_UNDERSTOOD_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)


def build_signing_certificate(
    name: Name,
    public_key: PublicKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
    path_length: int | None,
) -> x509.Certificate:
    """A certificate that may sign others under `name`; self-signed when `issuer` is None."""
    builder = (
        _common(name, public_key, issuer, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.trust_domain)]), critical=False
        )
    )
    return builder.sign(issuer_key, hashes.SHA256())


def build_leaf_certificate(
    name: Name,
    public_key: PublicKey,
    *,
    issuer: x509.Certificate,
    issuer_key: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
    dns_names: Iterable[str],
    usages: Sequence[ObjectIdentifier],
) -> x509.Certificate:
    """A certificate that identifies `name` and signs no other: an X.509-SVID."""
    if len(name.components) < 2:
        raise InvalidName(f"a leaf's name extends its root, {str(name)!r} is a root alone")
    sans: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name.spiffe_id)]
    sans.extend(x509.DNSName(dns_name) for dns_name in dns_names)
    builder = (
        _common(name, public_key, issuer, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(sans), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def name_of(certificate: x509.Certificate) -> Name:
    """The blessing name that a certificate claims. It proves nothing before verification.

    Raises InvalidCertificate when the certificate carries none, more than one, or a malformed one.
    """
    extensions = extensions_of(certificate)
    uris = _uris(extensions)
    if len(uris) != 1:
        raise InvalidCertificate(f"expected exactly one URI SAN, found {len(uris)}")
    try:
        if not is_signing(certificate):
            name = Name.from_spiffe_id(uris[0])
            if len(name.components) < 2:
                raise InvalidCertificate(f"a leaf's SPIFFE ID needs a path, got {uris[0]!r}")
            return name
        name = _name_of_subject(certificate.subject)
    except InvalidName as error:
        raise InvalidCertificate(f"the certificate's name is malformed: {error}") from error
    if uris[0] != name.trust_domain:
        raise InvalidCertificate(
            f"a signing certificate for {str(name)!r} must have the URI SAN {name.trust_domain!r}, "
            f"got {uris[0]!r}"
        )
    return name


def is_signing(certificate: x509.Certificate) -> bool:
    """Whether basic constraints say CA:TRUE. Raises InvalidCertificate when there are none."""
    try:
        return extensions_of(certificate).get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound as error:
        raise InvalidCertificate("the certificate has no basic constraints") from error


def may_sign_certificates(certificate: x509.Certificate) -> bool:
    """Whether key usage has keyCertSign. Raises InvalidCertificate when there is no key usage."""
    try:
        return extensions_of(certificate).get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as error:
        raise InvalidCertificate("the certificate has no key usage") from error


def path_length_of(certificate: x509.Certificate) -> int | None:
    """How many more signing certificates may follow below this one; None for no limit."""
    return extensions_of(certificate).get_extension_for_class(x509.BasicConstraints).value.path_length


def unknown_critical_extensions(certificate: x509.Certificate) -> list[str]:
    """Dotted object identifiers of the critical extensions that this profile does not define."""
    return [
        extension.oid.dotted_string
        for extension in extensions_of(certificate)
        if extension.critical and extension.oid not in _UNDERSTOOD_CRITICAL
    ]


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key. Raises InvalidKey for one that is not accepted."""
    try:
        return check_public_key(certificate.public_key())
    except InvalidKey:
        raise
    except ValueError as error:
        raise InvalidKey("the certificate's public key cannot be read") from error


def extensions_of(certificate: x509.Certificate) -> x509.Extensions:
    """The parsed extensions. Raises InvalidCertificate for duplicates and malformed values."""
    try:
        return certificate.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        raise InvalidCertificate(f"the certificate's extensions cannot be read: {error}") from error


def parse_pem_chain(pem: str | bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text in its order. Raises InvalidCertificate when there is none."""
    data = pem.encode() if isinstance(pem, str) else pem
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise InvalidCertificate(f"this is no PEM certificate chain: {error}") from error


def to_pem(certificates: Iterable[x509.Certificate]) -> str:
    """PEM texts one after the other."""
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def parse_der(der: bytes) -> x509.Certificate:
    """The certificate that `der` encodes. Raises InvalidCertificate."""
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise InvalidCertificate(f"this is no DER certificate: {error}") from error


def validity(
    now: datetime, lifetime: timedelta, issuer: x509.Certificate | None
) -> tuple[datetime, datetime]:
    """When a certificate made now begins and ends: backdated, and never outside of its issuer's time."""
    if now.tzinfo is None:
        raise ValueError("`now` needs a time zone")
    now = now.astimezone(UTC).replace(microsecond=0)
    begin, end = now - BACKDATE, now + lifetime
    if issuer is not None:
        begin, end = max(begin, issuer.not_valid_before_utc), min(end, issuer.not_valid_after_utc)
    return begin, end


def _common(
    name: Name,
    public_key: PublicKey,
    issuer: x509.Certificate | None,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    subject = _subject(name)
    key_identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    if issuer is None:
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_identifier)
    else:
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(key_identifier, critical=False)
        .add_extension(authority, critical=False)
    )


def _subject(name: Name) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.DOMAIN_COMPONENT, one) for one in name.components])


def _name_of_subject(subject: x509.Name) -> Name:
    attributes = [attribute for rdn in subject.rdns for attribute in rdn]
    if len(attributes) != len(subject.rdns) or any(one.oid != NameOID.DOMAIN_COMPONENT for one in attributes):
        raise InvalidCertificate(
            f"the subject of a signing certificate is its name, one DC a component; it is "
            f"{subject.rfc4514_string()[:300]!r}"
        )
    return Name(tuple(str(one.value) for one in attributes))


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _uris(extensions: x509.Extensions) -> list[str]:
    try:
        sans = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return sans.get_values_for_type(x509.UniformResourceIdentifier)
