"""What plain X.509 verifiers refuse in a chain that the profile allows.

OpenSSL (also with X509_V_FLAG_X509_STRICT, Python's default for TLS since 3.13), Go's crypto/x509 and
cryptography's verifier judge; the strictest of them counts. A chain that is presented to us is not judged so:
this is for issuers, before anything is signed with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509 import verification
from cryptography.x509.verification import Criticality, ExtensionPolicy

from blessings.errors import InvalidCertificate, Reason, VerificationError
from blessings.profile.certificates import MAX_CHAIN_LENGTH
from blessings.profile.fields import extensions_of, one_of

# The parser of Go's crypto/x509 reads no greater arc of an object identifier.
_GREATEST_ARC = 2**31 - 1


def check_form(certificate: x509.Certificate) -> None:
    """Raises InvalidCertificate for a signing certificate whose form a plain verifier refuses."""
    extensions = extensions_of(certificate)
    if x509.SubjectKeyIdentifier.oid not in extensions:
        raise InvalidCertificate(
            "there is none, so that what it signs cannot name its key (RFC 5280, section 4.2.1.2)",
            field="subjectKeyIdentifier",
        )
    authority = one_of(extensions, x509.AuthorityKeyIdentifier)
    if certificate.issuer != certificate.subject if authority is None else authority.key_identifier is None:
        raise InvalidCertificate(
            "it does not state its issuer's key identifier (RFC 5280, section 4.2.1.1)",
            field="authorityKeyIdentifier",
        )
    usages = extensions.get(x509.ExtendedKeyUsage.oid)
    if usages is not None and usages.critical:
        raise InvalidCertificate(
            "in a signing certificate it must not be critical; have it made without one", field="extKeyUsage"
        )
    stated = one_of(extensions, x509.ExtendedKeyUsage)
    _check_arcs((*extensions, *(() if stated is None else stated)))


def check_svid(chain: Sequence[x509.Certificate], root: x509.Certificate, now: datetime) -> None:
    """Checks a valid chain, leaf first, by cryptography's verifier, as of a TLS client at `now`. Raises
    VerificationError.

    It knows no Ed25519, so a chain with such a key is not judged.
    """
    if any(isinstance(one.public_key(), ed25519.Ed25519PublicKey) for one in (*chain, root)):
        return
    # X509-SVID demands no critical subjectAltName beside an empty subject, and ours is not empty.
    leaf = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.SubjectAlternativeName, Criticality.AGNOSTIC, None
    )
    try:
        (
            verification.PolicyBuilder()
            .store(verification.Store([root]))
            .time(now)
            .max_chain_depth(MAX_CHAIN_LENGTH)
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf)
            .build_client_verifier()
            .verify(chain[0], list(chain[1:]))
        )
    except (verification.VerificationError, ValueError) as error:
        raise VerificationError(
            Reason.MALFORMED, f"X.509 verifiers refuse what it would sign: {str(error)[:300]}"
        ) from error


def _check_arcs(identifiers: Iterable[x509.ObjectIdentifier]) -> None:
    for one in identifiers:
        if any(int(arc) > _GREATEST_ARC for arc in one.dotted_string.split(".")):
            raise InvalidCertificate(
                "Go programs cannot read a certificate with the object identifier "
                f"{one.dotted_string[:100]}; have it made without it",
                field="extensions",
            )
