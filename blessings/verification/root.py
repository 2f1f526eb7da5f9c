"""The check that a chain ends below a recognised root, valid now and trusted for the leaf's name."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from blessings.errors import InvalidCertificate, Reason, VerificationError
from blessings.profile.fields import Role
from blessings.profile.reader import CertificateFacts, NamedFacts
from blessings.roots import Root, Roots
from blessings.verification.chain import (
    as_verification_error,
    check_alone,
    check_identifier,
    check_nested,
    check_order,
    check_signer,
    is_signed_by,
)
from blessings.verification.policy import Policy


def check_root(
    last: x509.Certificate, facts: list[NamedFacts], roots: Roots, now: datetime, policy: Policy
) -> CertificateFacts:
    """The root that signed `last`, the chain's last certificate. Raises VerificationError."""
    place = len(facts)
    signers = _signers(facts[-1], roots, place)
    if not signers:
        check_order(facts)
        raise VerificationError(
            Reason.UNRECOGNISED_ROOT,
            f"no recognised root signed it (issuer {_issuer_of(last)})",
            certificate=place - 1,
            field="issuer",
        )
    name = facts[0].name
    trusted = [root for root in signers if root.pattern.matches(name)]
    if not trusted:
        raise VerificationError(
            Reason.ROOT_NOT_TRUSTED_FOR_NAME,
            f"the root is trusted for {', '.join(str(root.pattern) for root in signers)}, not for {name}",
            certificate=place,
        )
    # One good root is enough, whichever it is: roots have no order.
    failures = []
    for root in trusted:
        try:
            return _check_as_root(root.facts, facts, now, policy)
        except VerificationError as error:
            failures.append(error)
    raise failures[0]


def _check_as_root(
    root: CertificateFacts, facts: list[NamedFacts], now: datetime, policy: Policy
) -> CertificateFacts:
    place = len(facts)
    check_alone(root, place, now, policy)
    check_signer(root, sum(one.role is Role.SIGNER for one in facts), place)
    check_identifier(facts[-1], root, place - 1)
    if root.parts.issuer == root.parts.subject:
        check_identifier(root, root, place)
    check_nested(facts[-1], root, place - 1)
    return root


def _signers(last: NamedFacts, roots: Roots, place: int) -> list[Root]:
    """The roots that signed the chain's last certificate.

    A root outside of the profile fails the chain only when it has the issuer's name and no other root signed.
    """
    signers, refused = [], None
    for root in roots:
        if root.subject != last.parts.issuer:
            continue
        try:
            if is_signed_by(last, root.facts):
                signers.append(root)
        except InvalidCertificate as error:
            refused = error
    if refused is not None and not signers:
        raise as_verification_error(refused.at(place)) from refused
    return signers


def _issuer_of(certificate: x509.Certificate) -> str:
    try:
        return repr(certificate.issuer.rfc4514_string()[:300])
    except (ValueError, TypeError):
        # `cryptography` raises TypeError for a BIT STRING in place of a text.
        return "that cannot be read"
