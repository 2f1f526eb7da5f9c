"""The fields of a certificate, each checked against the profile; the name is in `profile.names`.

Each error names the field as RFC 5280 does.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from blessings import keys
from blessings.errors import InvalidCaveat, InvalidCertificate, InvalidKey
from blessings.keys import EVERY_KIND, KeyKind, PublicKey
from blessings.profile import restrictions
from blessings.profile.restrictions import Restrictions
from blessings.profile.signed_parts import SignedParts

_CLIENT_AND_SERVER = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH})
_IDENTIFYING = _CLIENT_AND_SERVER | {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
# RFC 5280, section 4.1.2.2: 20 octets.
_LONGEST_SERIAL_BITS = 160
# In DER, without parameters: RFC 5758, section 3.2, and RFC 8410, section 3.
SIGNATURE_ALGORITHMS = {
    KeyKind.P256: bytes.fromhex("300a06082a8648ce3d040302"),
    KeyKind.ED25519: bytes.fromhex("300506032b6570"),
}
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
Extensions = dict[ObjectIdentifier, x509.Extension[x509.ExtensionType]]


class Role(StrEnum):
    """What a certificate does in a chain.

    Roots and applications sign others, a leaf identifies, and a leaf or another delegate blesses a delegate.
    """

    SIGNER = "signing certificate"
    LEAF = "leaf"
    DELEGATE = "delegate"


def public_key_of(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key. Raises InvalidKey for one that is not accepted."""
    try:
        return keys.check_public_key(certificate.public_key(), EVERY_KIND)
    except InvalidKey:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey("the public key cannot be read, or is of a kind that is not accepted") from error


def times_of(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    """When a certificate's validity begins and ends. Raises InvalidCertificate."""
    try:
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except ValueError as error:
        # DER allows the year 0, Python's calendar does not.
        raise InvalidCertificate(f"a time cannot be read: {error}", field="validity") from error
    if not_before >= not_after:
        raise InvalidCertificate(
            f"it ends at {not_after.isoformat()}, before it begins at {not_before.isoformat()}",
            field="validity",
        )
    return not_before, not_after


def is_signing(certificate: x509.Certificate) -> bool:
    """Whether the basic constraints contain CA:TRUE. Raises InvalidCertificate when there are none."""
    return constraints_of(extensions_of(certificate)).ca


def extensions_of(certificate: x509.Certificate) -> Extensions:
    """The parsed extensions by identifier. Raises InvalidCertificate for duplicates and malformed values."""
    try:
        return {one.oid: one for one in certificate.extensions}
    except x509.DuplicateExtension as error:
        raise InvalidCertificate(
            f"the extension {error.oid.dotted_string} appears twice", field="extensions"
        ) from error
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType) as error:
        raise InvalidCertificate(f"an extension cannot be read: {error}", field="extensions") from error


def one_of(extensions: Extensions, kind: type[_Extension]) -> _Extension | None:
    """The extension of that kind, or None."""
    found = extensions.get(kind.oid)
    return None if found is None else cast(_Extension, found.value)


def constraints_of(extensions: Extensions) -> x509.BasicConstraints:
    """The basic constraints. Raises InvalidCertificate when there are none."""
    constraints = one_of(extensions, x509.BasicConstraints)
    if constraints is None:
        raise InvalidCertificate("there are no basic constraints", field="basicConstraints")
    return constraints


def check_serial_number(certificate: x509.Certificate) -> None:
    """Raises InvalidCertificate for a serial number that RFC 5280 does not allow."""
    serial = certificate.serial_number
    if serial <= 0:
        raise InvalidCertificate("a serial number must be positive (RFC 5280)", field="serialNumber")
    if serial.bit_length() > _LONGEST_SERIAL_BITS:
        raise InvalidCertificate(
            f"a serial number has at most 20 octets (RFC 5280), this one has {serial.bit_length()} bits",
            field="serialNumber",
        )


def check_signer_constraints(extensions: Extensions) -> None:
    """Raises InvalidCertificate for constraints that other verifiers apply to what is below a signing
    certificate, and this library does not; also where they are not critical."""
    if not extensions[x509.BasicConstraints.oid].critical:
        raise InvalidCertificate(
            "the basic constraints of a signing certificate must be critical (RFC 5280)",
            field="basicConstraints",
        )
    if x509.NameConstraints.oid in extensions:
        raise InvalidCertificate(
            "it has name constraints, which some X.509 verifiers apply to the SPIFFE IDs below it and others "
            "ignore; have it made without them",
            field="nameConstraints",
        )
    policies = one_of(extensions, x509.PolicyConstraints)
    if policies is not None and policies.require_explicit_policy is not None:
        raise InvalidCertificate(
            "it requires certificate policies of what is below it, and blessings have none; have it made "
            "without policy constraints",
            field="policyConstraints",
        )


def restrictions_of(extensions: Extensions) -> Restrictions | None:
    """The caveats, and whether this is a delegate; None without the extension. Raises InvalidCertificate."""
    found = extensions.get(restrictions.OID)
    if found is None:
        return None
    if not found.critical:
        raise InvalidCertificate("the extension is not critical", field="restrictions")
    try:
        return restrictions.parse(found.value.public_bytes())
    except InvalidCaveat as error:
        raise InvalidCertificate(str(error), field="restrictions") from error


def role_of(ca: bool, restrictions: Restrictions | None) -> Role:
    """The role of a certificate; `ca` is from its basic constraints. Raises InvalidCertificate when a
    delegate is a CA."""
    if restrictions is not None and restrictions.delegation:
        if ca:
            raise InvalidCertificate("a delegate must be CA:FALSE", field="basicConstraints")
        return Role.DELEGATE
    return Role.SIGNER if ca else Role.LEAF


def check_key_usage(extensions: Extensions, role: Role) -> None:
    """Raises InvalidCertificate when the key usage allows less than the role needs, or more."""
    usage = one_of(extensions, x509.KeyUsage)
    if usage is None:
        raise InvalidCertificate("there is no key usage", field="keyUsage")
    if role is Role.SIGNER:
        if not usage.key_cert_sign:
            raise InvalidCertificate("a signing certificate must have keyCertSign", field="keyUsage")
    elif usage.key_cert_sign or usage.crl_sign:
        raise InvalidCertificate(f"a {role} must not have keyCertSign or cRLSign", field="keyUsage")
    elif not usage.digital_signature:
        raise InvalidCertificate(f"a {role} must have digitalSignature", field="keyUsage")


def check_extended_key_usage(extensions: Extensions, role: Role) -> None:
    """Raises InvalidCertificate when neither clients nor servers may use the certificate, or, for a signing
    certificate, when not both may use what is below it.

    X.509 verifiers read a signing certificate's usages as a limit for all below it, and OpenSSL does not take
    anyExtendedKeyUsage for the two.
    """
    usages = one_of(extensions, x509.ExtendedKeyUsage)
    if usages is None:
        return
    stated = f"its extended key usage is {', '.join(one.dotted_string for one in usages)[:300]}"
    if _IDENTIFYING.isdisjoint(usages):
        raise InvalidCertificate(
            f"it may identify neither clients nor servers, {stated}", field="extKeyUsage"
        )
    if role is Role.SIGNER and not _CLIENT_AND_SERVER.issubset(usages):
        raise InvalidCertificate(
            "it limits what is below it, which must identify clients and servers; have it made without an "
            f"extended key usage, or with both clientAuth and serverAuth ({stated})",
            field="extKeyUsage",
        )


def check_signature_form(parts: SignedParts) -> None:
    """Raises InvalidCertificate for a signature algorithm that the profile lacks, or in another encoding."""
    if parts.outer_algorithm not in SIGNATURE_ALGORITHMS.values():
        raise InvalidCertificate(
            "only ECDSA with SHA-256 and Ed25519 sign certificates, "
            f"got the algorithm {parts.outer_algorithm.hex()[:100]}",
            field="signatureAlgorithm",
        )
    if parts.inner_algorithm != parts.outer_algorithm:
        raise InvalidCertificate("the inner and outer signature algorithms differ", field="signature")
    if parts.unused_bits:
        raise InvalidCertificate("the signature is not a whole number of bytes", field="signatureValue")
