"""The fields of a certificate, read once and checked against the profile. Nothing here proves anything.

Every check of a certificate uses these fields, so a chain is parsed once however often it is judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from blessings import keys
from blessings.caveats.kinds import Caveat
from blessings.errors import InvalidKey, UnacceptableKey
from blessings.keys import KeyKind, PublicKey
from blessings.names import Name
from blessings.profile import restrictions
from blessings.profile.fields import (
    Role,
    check_extended_key_usage,
    check_key_usage,
    check_serial_number,
    check_signature_form,
    check_signer_constraints,
    constraints_of,
    extensions_of,
    one_of,
    public_key_of,
    restrictions_of,
    role_of,
    times_of,
)
from blessings.profile.names import name_in, no_name
from blessings.profile.signed_parts import SignedParts, split

_UNDERSTOOD_CRITICAL = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        restrictions.OID,
    }
)


@dataclass(frozen=True)
class CertificateFacts:
    """The fields of one certificate that have a meaning in the profile.

    `parts` are the bytes that the signature covers. `restricted` states whether the certificate has the
    restrictions extension, for caveats or as a delegate. `key_identifier` is the subject key identifier,
    `issuer_identifier` the authority key identifier.
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
    serial: int
    key_identifier: bytes | None
    issuer_identifier: x509.AuthorityKeyIdentifier | None

    @cached_property
    def key_fingerprint(self) -> str:
        """The `fingerprint` of the public key."""
        return keys.fingerprint(self.public_key)


@dataclass(frozen=True)
class NamedFacts(CertificateFacts):
    """The fields of a certificate with a blessing name. Only roots of other implementations have no name."""

    name: Name


def read(certificate: x509.Certificate) -> NamedFacts:
    """The fields of a certificate in a chain. Raises InvalidCertificate, and UnacceptableKey for its key."""
    facts = read_root(certificate)
    if not isinstance(facts, NamedFacts):
        raise no_name(certificate)
    return facts


@lru_cache(maxsize=256)
def read_issuer(certificate: x509.Certificate) -> NamedFacts:
    """As `read`, and cached: for certificates above the leaf, since few of them appear in many chains.

    Certificates are equal when their bytes are, and their fields depend on nothing else.
    """
    return read(certificate)


def read_root(certificate: x509.Certificate) -> CertificateFacts:
    """The fields of a root: NamedFacts, unless another implementation made it with a subject that is no name.

    Raises InvalidCertificate, and UnacceptableKey for its key.
    """
    try:
        key = public_key_of(certificate)
    except InvalidKey as error:
        raise UnacceptableKey(str(error), field="subjectPublicKeyInfo") from error
    extensions = extensions_of(certificate)
    restrictions = restrictions_of(extensions)
    constraints = constraints_of(extensions)
    role = role_of(constraints.ca, restrictions)
    check_key_usage(extensions, role)
    check_extended_key_usage(extensions, role)
    if role is Role.SIGNER:
        check_signer_constraints(extensions)
    parts = split(certificate)
    check_signature_form(parts)
    check_serial_number(certificate)
    not_before, not_after = times_of(certificate)
    itself = one_of(extensions, x509.SubjectKeyIdentifier)
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
        serial=certificate.serial_number,
        key_identifier=None if itself is None else itself.digest,
        issuer_identifier=one_of(extensions, x509.AuthorityKeyIdentifier),
    )
    name = name_in(certificate, extensions, role, restrictions)
    return facts if name is None else NamedFacts(**vars(facts), name=name)
