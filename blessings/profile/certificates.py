"""Certificates of the profile: how each kind is built.

| | signing certificate (root, application) | leaf (replica, service) | delegate, leaf with caveats |
|---|---|---|---|
| blessing name | its subject, one DC a component | its SPIFFE ID, and the subject likewise | its subject |
| URI SAN | the trust domain, without a path | the SPIFFE ID of its name | none, nor any other |
| basic constraints | CA:TRUE, path length unless a root | CA:FALSE | CA:FALSE |
| key usage | keyCertSign, cRLSign | digitalSignature | digitalSignature |
| extended key usage | none | clientAuth and serverAuth, or one of them | none |
| restrictions (`blessings.profile.restrictions`, critical) | with caveats | none | always |

A signing certificate of another authority may have an extended key usage with both clientAuth and
serverAuth. None may have name constraints or require policies: X.509 verifiers apply these to all below.

A SPIFFE signing certificate must not have a path in its SPIFFE ID (X509-SVID, section 3.2), so the name of an
application certificate is in its subject. DC (RFC 4519) is the only name attribute without an upper bound
below the 253 characters of our components. A private extension under a 2.25.<UUID> object identifier cannot
carry the name, because every program must be able to read it: Go's parser reads no arc above 31 bits, and
refuses the whole certificate. For restrictions that refusal is what we want.

Sources: RFC 5280; https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from blessings.caveats.kinds import Caveat
from blessings.errors import CannotBless, InvalidName
from blessings.keys import PrivateKey, PublicKey, certificate_hash
from blessings.names import Name
from blessings.profile.fields import Role
from blessings.profile.restrictions import Restrictions

# The clocks of verifiers may be slow.
BACKDATE = timedelta(seconds=60)
# Root, applications, replica and delegates together. Each costs a verifier one signature check.
MAX_CHAIN_LENGTH = 16

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


def build_signing_certificate(
    name: Name,
    public_key: PublicKey,
    *,
    issuer: x509.Certificate | None,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    path_length: int | None,
    caveats: Sequence[Caveat] = (),
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
    if caveats:
        builder = _restrict(builder, caveats, delegation=False)
    return builder.sign(issuer_key, certificate_hash(issuer_key))


def build_leaf_certificate(
    name: Name,
    public_key: PublicKey,
    *,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    dns_names: Iterable[str],
    usages: Sequence[ObjectIdentifier],
    caveats: Sequence[Caveat] = (),
) -> x509.Certificate:
    """A certificate that identifies `name` and signs no other: an X.509-SVID, unless it has caveats."""
    if len(name.components) < 2:
        raise InvalidName(f"a leaf's name extends its root, {str(name)!r} is a root alone")
    if caveats:
        return _build_restricted(
            name, public_key, issuer, issuer_key, not_before, not_after, caveats, Role.LEAF
        )
    sans: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name.spiffe_id)]
    sans.extend(x509.DNSName(dns_name) for dns_name in dns_names)
    builder = _particulars(
        _leaf_of(issuer, tuple(usages)), name, public_key, not_before, not_after
    ).add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(issuer_key, certificate_hash(issuer_key))


def build_delegate_certificate(
    name: Name,
    public_key: PublicKey,
    *,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    caveats: Sequence[Caveat],
) -> x509.Certificate:
    """A certificate by which a leaf or a delegate blesses another key. No plain X.509 verifier accepts it."""
    return _build_restricted(
        name, public_key, issuer, issuer_key, not_before, not_after, caveats, Role.DELEGATE
    )


def validity(
    now: datetime, lifetime: timedelta, issuer: x509.Certificate | None
) -> tuple[datetime, datetime]:
    """The begin and end of a certificate made now: backdated, and within its issuer's validity.

    Raises CannotBless for a lifetime that is not positive.
    """
    if now.tzinfo is None:
        raise ValueError("`now` needs a time zone")
    if lifetime <= timedelta(0):
        raise CannotBless(f"a lifetime must be longer than 0 s, got {lifetime.total_seconds():g} s")
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
    if issuer is None:
        itself = x509.SubjectKeyIdentifier.from_public_key(public_key)
        authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(itself)
        begun = (
            x509.CertificateBuilder().issuer_name(subject_of(name)).add_extension(authority, critical=False)
        )
    else:
        begun = _signed_by(issuer)
    return _particulars(begun, name, public_key, not_before, not_after)


def _particulars(
    begun: x509.CertificateBuilder,
    name: Name,
    public_key: PublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        begun.subject_name(subject_of(name))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


# Builders are immutable, and building what an issuer's certificates have in common is half of the work.
@lru_cache(maxsize=64)
def _signed_by(issuer: x509.Certificate) -> x509.CertificateBuilder:
    try:
        of_issuer = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound as error:
        # RFC 5280, section 4.2.1.2: every signing certificate has one. One made elsewhere may not.
        raise CannotBless(
            f"the signing certificate {issuer.subject.rfc4514_string()} has no subject key identifier, so "
            "the certificates that it signs cannot name its key"
        ) from error
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(of_issuer)
    return x509.CertificateBuilder().issuer_name(issuer.subject).add_extension(authority, critical=False)


@lru_cache(maxsize=64)
def _leaf_of(issuer: x509.Certificate, usages: tuple[ObjectIdentifier, ...]) -> x509.CertificateBuilder:
    return (
        _signed_by(issuer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )


def subject_of(name: Name) -> x509.Name:
    """A signing certificate's subject, with one DC attribute for each component of the name."""
    return x509.Name([_component(one) for one in name.components])


@lru_cache(maxsize=256)
def _component(text: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(NameOID.DOMAIN_COMPONENT, text)


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


def _restrict(
    builder: x509.CertificateBuilder, caveats: Sequence[Caveat], *, delegation: bool
) -> x509.CertificateBuilder:
    return builder.add_extension(Restrictions(delegation, tuple(caveats)).to_extension(), critical=True)


def _build_restricted(
    name: Name,
    public_key: PublicKey,
    issuer: x509.Certificate,
    issuer_key: PrivateKey,
    not_before: datetime,
    not_after: datetime,
    caveats: Sequence[Caveat],
    role: Role,
) -> x509.Certificate:
    builder = (
        _common(name, public_key, issuer, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
    )
    builder = _restrict(builder, caveats, delegation=role is Role.DELEGATE)
    return builder.sign(issuer_key, certificate_hash(issuer_key))
