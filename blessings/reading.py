"""What a certificate says, read once and checked against the profile; nothing here proves anything.

`read` is the one place that looks into a certificate's fields, so that a chain is parsed once however often
it is judged. Each error names the field as RFC 5280 does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import (
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
    ObjectIdentifier,
)

from blessings import extension, keys
from blessings.caveats import Caveat
from blessings.errors import InvalidCaveat, InvalidCertificate, InvalidKey, InvalidName, UnacceptableKey
from blessings.extension import Restrictions
from blessings.keys import EVERY_KIND, KeyKind, PublicKey
from blessings.names import Name
from blessings.signed_parts import SignedParts, split

_UNDERSTOOD_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        extension.OID,
    }
)
_IDENTIFYING = frozenset(
    {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    }
)
# In DER, and without parameters: RFC 5758, section 3.2, and RFC 8410, section 3.
SIGNATURE_ALGORITHMS = {
    KeyKind.P256: bytes.fromhex("300a06082a8648ce3d040302"),
    KeyKind.ED25519: bytes.fromhex("300506032b6570"),
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_Extensions = dict[ObjectIdentifier, x509.Extension[x509.ExtensionType]]


class Role(StrEnum):
    """What a certificate is in a chain: roots and applications sign, a leaf identifies, a delegate is blessed
    by a leaf or another delegate."""

    SIGNER = "signing certificate"
    LEAF = "leaf"
    DELEGATE = "delegate"


@dataclass(frozen=True)
class CertificateFacts:
    """The fields of one certificate that the profile gives a meaning to.

    `parts` are the bytes that its signature is about; `restricted` says whether it has the restrictions
    extension, with caveats or as a delegate.
    """

    role: Role
    parts: SignedParts = field(repr=False)
    public_key: PublicKey
    key_kind: KeyKind
    not_before: datetime
    not_after: datetime
    path_length: int | None
    restricted: bool
    caveats: tuple[Caveat, ...]
    unknown_critical: tuple[str, ...]


@dataclass(frozen=True)
class NamedFacts(CertificateFacts):
    """Those of a certificate with a blessing name. Only a root of another implementation has none."""

    name: Name


def read(certificate: x509.Certificate) -> NamedFacts:
    """The facts of a certificate of a chain. Raises InvalidCertificate, for its key UnacceptableKey."""
    facts = read_root(certificate)
    if not isinstance(facts, NamedFacts):
        raise _no_name(certificate)
    return facts


@lru_cache(maxsize=256)
def read_issuer(certificate: x509.Certificate) -> NamedFacts:
    """As `read`, of a certificate above a leaf: few of them stand in many chains, and are read once.

    Certificates are equal when their bytes are, and what they say depends on nothing else.
    """
    return read(certificate)


def read_root(certificate: x509.Certificate) -> CertificateFacts:
    """The facts of a root: NamedFacts, unless it is another implementation's with a subject of its own.

    Raises InvalidCertificate, for its key UnacceptableKey.
    """
    try:
        key = public_key_of(certificate)
    except InvalidKey as error:
        raise UnacceptableKey(str(error), field="subjectPublicKeyInfo") from error
    extensions = _extensions_of(certificate)
    restrictions = _restrictions(extensions)
    constraints = _constraints(extensions)
    role = _role(constraints.ca, restrictions)
    _check_key_usage(extensions, role)
    _check_extended_key_usage(extensions)
    parts = split(certificate)
    _check_signature_form(parts)
    if certificate.serial_number <= 0:
        raise InvalidCertificate("a serial number is positive (RFC 5280)", field="serialNumber")
    not_before, not_after = times_of(certificate)
    facts = CertificateFacts(
        role=role,
        parts=parts,
        public_key=key,
        key_kind=keys.kind_of(key),
        not_before=not_before,
        not_after=not_after,
        path_length=constraints.path_length,
        restricted=restrictions is not None,
        caveats=() if restrictions is None else restrictions.caveats,
        unknown_critical=tuple(
            oid.dotted_string
            for oid, one in extensions.items()
            if one.critical and oid not in _UNDERSTOOD_CRITICAL
        ),
    )
    name = _name(certificate, extensions, role, restrictions)
    return facts if name is None else NamedFacts(**vars(facts), name=name)


def name_of(certificate: x509.Certificate) -> Name:
    """The blessing name that a certificate claims. It proves nothing before verification.

    Raises InvalidCertificate when the certificate carries none, more than one, or a malformed one.
    """
    extensions = _extensions_of(certificate)
    restrictions = _restrictions(extensions)
    role = _role(is_signing(certificate), restrictions)
    name = _name(certificate, extensions, role, restrictions)
    if name is None:
        raise _no_name(certificate)
    return name


def is_signing(certificate: x509.Certificate) -> bool:
    """Whether basic constraints say CA:TRUE. Raises InvalidCertificate when there are none."""
    return _constraints(_extensions_of(certificate)).ca


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key. Raises InvalidKey for one that is not accepted."""
    try:
        return keys.check_public_key(certificate.public_key(), EVERY_KIND)
    except InvalidKey:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey("the public key cannot be read, or is of a kind that is not accepted") from error


def times_of(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """When a certificate begins and ends. Raises InvalidCertificate."""
    try:
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError as error:
        # DER has a year 0, Python's calendar has none.
        raise InvalidCertificate(f"a time cannot be read: {error}", field="validity") from error
    if not_before >= not_after:
        raise InvalidCertificate(
            f"it ends at {not_after.isoformat()}, before it begins at {not_before.isoformat()}",
            field="validity",
        )
    return not_before, not_after


def _extensions_of(certificate: x509.Certificate) -> _Extensions:
    """The parsed extensions by identifier. Raises InvalidCertificate for duplicates and malformed values."""
    try:
        return {one.oid: one for one in certificate.extensions}
    except x509.DuplicateExtension as error:
        raise InvalidCertificate(
            f"the extension {error.oid.dotted_string} is there twice", field="extensions"
        ) from error
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise InvalidCertificate(f"an extension cannot be read: {error}", field="extensions") from error


def _one(extensions: _Extensions, kind: type[_Extension]) -> _Extension | None:
    found = extensions.get(kind.oid)
    return None if found is None else cast(_Extension, found.value)


def _constraints(extensions: _Extensions) -> x509.BasicConstraints:
    constraints = _one(extensions, x509.BasicConstraints)
    if constraints is None:
        raise InvalidCertificate("there are no basic constraints", field="basicConstraints")
    return constraints


def _no_name(certificate: x509.Certificate) -> InvalidCertificate:
    return InvalidCertificate(
        "a signing certificate's subject is its name, one DC a component; "
        f"it is {certificate.subject.rfc4514_string()[:300]!r}",
        field="subject",
    )


def _restrictions(extensions: _Extensions) -> Restrictions | None:
    found = extensions.get(extension.OID)
    if found is None:
        return None
    if not found.critical:
        raise InvalidCertificate("the extension is not critical", field="restrictions")
    try:
        return extension.parse(found.value.public_bytes())
    except InvalidCaveat as error:
        raise InvalidCertificate(str(error), field="restrictions") from error


def _role(ca: bool, restrictions: Restrictions | None) -> Role:
    if restrictions is not None and restrictions.delegation:
        if ca:
            raise InvalidCertificate("a delegate must be CA:FALSE", field="basicConstraints")
        return Role.DELEGATE
    return Role.SIGNER if ca else Role.LEAF


def _check_key_usage(extensions: _Extensions, role: Role) -> None:
    usage = _one(extensions, x509.KeyUsage)
    if usage is None:
        raise InvalidCertificate("there is no key usage", field="keyUsage")
    if role is Role.SIGNER:
        if not usage.key_cert_sign:
            raise InvalidCertificate("a signing certificate must have keyCertSign", field="keyUsage")
    elif usage.key_cert_sign or usage.crl_sign:
        raise InvalidCertificate(f"a {role} must not have keyCertSign or cRLSign", field="keyUsage")
    elif not usage.digital_signature:
        raise InvalidCertificate(f"a {role} must have digitalSignature", field="keyUsage")


def _check_extended_key_usage(extensions: _Extensions) -> None:
    """In a signing certificate too: X.509 verifiers take it for a limit of what is below."""
    usages = _one(extensions, x509.ExtendedKeyUsage)
    if usages is not None and _IDENTIFYING.isdisjoint(usages):
        raise InvalidCertificate(
            "it is for neither clients nor servers, but for "
            f"{', '.join(one.dotted_string for one in usages)[:300]}",
            field="extKeyUsage",
        )


def _check_signature_form(parts: SignedParts) -> None:
    if parts.outer_algorithm not in SIGNATURE_ALGORITHMS.values():
        raise InvalidCertificate(
            "only ECDSA with SHA-256 and Ed25519 sign certificates, "
            f"got the algorithm {parts.outer_algorithm.hex()[:100]}",
            field="signatureAlgorithm",
        )
    if parts.inner_algorithm != parts.outer_algorithm:
        raise InvalidCertificate("the algorithm inside is another than outside", field="signature")
    if parts.unused_bits:
        raise InvalidCertificate("the signature is no whole number of bytes", field="signatureValue")


def _name(
    certificate: x509.Certificate, extensions: _Extensions, role: Role, restrictions: Restrictions | None
) -> Name | None:
    sans = _one(extensions, x509.SubjectAlternativeName)
    uris = [] if sans is None else sans.get_values_for_type(x509.UniformResourceIdentifier)
    if role is Role.SIGNER:
        return _name_of_signer(certificate, uris)
    if restrictions is None:
        return _name_of_svid(uris)
    if sans is not None:
        raise InvalidCertificate(
            "a certificate with caveats, or of a delegation, has no alternative name: it is no SVID",
            field="subjectAltName",
        )
    name = _name_of_subject(certificate)
    if name is None or len(name.components) < 2:
        raise InvalidCertificate(
            f"the subject of a {role} with restrictions is its name, one DC a component, and extends a root; "
            f"it is {certificate.subject.rfc4514_string()[:300]!r}",
            field="subject",
        )
    return name


def _name_of_svid(uris: list[str]) -> Name:
    if len(uris) != 1:
        raise InvalidCertificate(f"expected exactly one URI, found {len(uris)}", field="subjectAltName")
    try:
        name = Name.from_spiffe_id(uris[0])
    except InvalidName as error:
        raise InvalidCertificate(f"the SPIFFE ID is malformed: {error}", field="subjectAltName") from error
    if len(name.components) < 2:
        raise InvalidCertificate(f"a leaf's SPIFFE ID needs a path, got {uris[0]!r}", field="subjectAltName")
    return name


def _name_of_signer(certificate: x509.Certificate, uris: list[str]) -> Name | None:
    name = _name_of_subject(certificate)
    if name is None:
        return None
    if uris != [name.trust_domain]:
        raise InvalidCertificate(
            f"a signing certificate for {str(name)!r} must have the one URI {name.trust_domain!r}, "
            f"got {', '.join(map(repr, uris))[:300] or 'none'}",
            field="subjectAltName",
        )
    return name


def _name_of_subject(certificate: x509.Certificate) -> Name | None:
    """The name that the subject spells; None when it is not made of DC attributes."""
    try:
        rdns = certificate.subject.rdns
    except (ValueError, TypeError) as error:
        # TypeError: a BIT STRING where a text belongs.
        raise InvalidCertificate(f"it cannot be read: {error}", field="subject") from error
    attributes = [attribute for rdn in rdns for attribute in rdn]
    if not attributes or any(one.oid != NameOID.DOMAIN_COMPONENT for one in attributes):
        return None
    if len(attributes) != len(rdns):
        raise InvalidCertificate("a component of the name has two values", field="subject")
    try:
        return Name(tuple(str(one.value) for one in attributes))
    except InvalidName as error:
        raise InvalidCertificate(f"the name is malformed: {error}", field="subject") from error
