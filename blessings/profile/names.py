"""The blessing name in a certificate: in the SPIFFE ID of an SVID, in the subject of every other.

Each error names the field as RFC 5280 does.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

from blessings.errors import InvalidCertificate, InvalidName
from blessings.names import Name
from blessings.profile.fields import (
    Extensions,
    Role,
    constraints_of,
    extensions_of,
    one_of,
    restrictions_of,
    role_of,
)
from blessings.profile.restrictions import Restrictions


def name_of(certificate: x509.Certificate) -> Name:
    """The blessing name that a certificate claims. It proves nothing before verification.

    Raises InvalidCertificate when the certificate carries none, more than one, or a malformed one.
    """
    extensions = extensions_of(certificate)
    restrictions = restrictions_of(extensions)
    role = role_of(constraints_of(extensions).ca, restrictions)
    name = name_in(certificate, extensions, role, restrictions)
    if name is None:
        raise no_name(certificate)
    return name


def name_in(
    certificate: x509.Certificate, extensions: Extensions, role: Role, restrictions: Restrictions | None
) -> Name | None:
    """The blessing name in fields that were already read; None for a signing certificate whose subject is no
    name.

    Raises InvalidCertificate.
    """
    sans = one_of(extensions, x509.SubjectAlternativeName)
    uris = [] if sans is None else sans.get_values_for_type(x509.UniformResourceIdentifier)
    if role is Role.SIGNER:
        return _name_of_signer(certificate, uris)
    if restrictions is None:
        return _name_of_svid(uris)
    if sans is not None:
        raise InvalidCertificate(
            "a certificate with caveats or of a delegate must not have alternative names: it is no SVID",
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


def no_name(certificate: x509.Certificate) -> InvalidCertificate:
    """The error to raise when `name_in` found no name in a certificate that needs one."""
    return InvalidCertificate(
        "a signing certificate's subject is its name, one DC a component; "
        f"it is {certificate.subject.rfc4514_string()[:300]!r}",
        field="subject",
    )


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
    """The name that the subject encodes; None when the subject is not made of DC attributes."""
    try:
        rdns = certificate.subject.rdns
    except (ValueError, TypeError) as error:
        # `cryptography` raises TypeError for a BIT STRING in place of a text.
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
