"""The checks of a chain that do not depend on the recognised roots.

- Shape: not empty, not too long, no certificate twice.
- Each certificate alone: its key, critical extensions and validity.
- Each certificate with its issuer: the signature; the authority key identifier; its name extends the
  issuer's; its validity is within the issuer's.
- Roles: delegates, one leaf, signers.

Each `check_…` raises VerificationError when it fails. `place` is a certificate's place in the chain, 0 for
the first, which is a delegate or the leaf.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from blessings import keys
from blessings.errors import InvalidCertificate, Reason, UnacceptableKey, VerificationError
from blessings.profile.fields import SIGNATURE_ALGORITHMS, Role
from blessings.profile.reader import CertificateFacts, NamedFacts
from blessings.verification.policy import Policy


def check_shape(chain: tuple[x509.Certificate, ...], policy: Policy) -> None:
    """Checks that there is a leaf, that the chain is not too long, and that no certificate appears twice."""
    if not chain:
        raise VerificationError(Reason.NOT_A_LEAF, "the chain is a root alone, which identifies nobody")
    if len(chain) > policy.max_chain_length:
        raise VerificationError(
            Reason.CHAIN_TOO_LONG,
            f"the chain has {len(chain)} certificates, at most {policy.max_chain_length} are read",
        )
    places: dict[x509.Certificate, int] = {}
    for place, certificate in enumerate(chain):
        earlier = places.setdefault(certificate, place)
        if earlier != place:
            raise VerificationError(
                Reason.CYCLIC, f"it is the same as certificate {earlier}", certificate=place
            )


def check_alone(facts: CertificateFacts, place: int, now: datetime, policy: Policy) -> None:
    """Checks one certificate without the others: key, critical extensions, validity."""
    if facts.key_kind not in policy.key_kinds:
        raise VerificationError(
            Reason.KEY_NOT_ACCEPTED,
            f"{facts.key_kind} keys are not accepted here",
            certificate=place,
            field="subjectPublicKeyInfo",
        )
    if facts.unknown_critical:
        raise VerificationError(
            Reason.UNKNOWN_CRITICAL_EXTENSION,
            f"it has the unknown critical extension {', '.join(facts.unknown_critical)[:300]}",
            certificate=place,
            field="extensions",
        )
    if now < facts.not_before:
        raise VerificationError(
            Reason.NOT_YET_VALID,
            f"it is valid from {facts.not_before.isoformat()}",
            certificate=place,
            field="notBefore",
        )
    if now >= facts.not_after:
        raise VerificationError(
            Reason.EXPIRED,
            f"it expired at {facts.not_after.isoformat()}",
            certificate=place,
            field="notAfter",
        )


def check_roles(facts: list[NamedFacts], policy: Policy) -> None:
    """Checks the order of roles: delegates, then one leaf, then signing certificates, none with more of them
    below it than its path length allows."""
    delegates = 0
    while delegates < len(facts) and facts[delegates].role is Role.DELEGATE:
        delegates += 1
    if delegates > policy.max_delegations:
        raise VerificationError(
            Reason.DELEGATION_NOT_ACCEPTED,
            f"the chain has {delegates} delegates, {policy.max_delegations} are accepted here",
            certificate=0,
            field="restrictions",
        )
    if delegates == len(facts) or facts[delegates].role is Role.SIGNER:
        if delegates == 0:
            raise VerificationError(
                Reason.NOT_A_LEAF,
                "it is a signing certificate, which identifies nobody",
                certificate=0,
                field="basicConstraints",
            )
        raise VerificationError(
            Reason.NOT_A_LEAF,
            "a delegate must be blessed by a leaf or another delegate, and this one is by neither",
            certificate=delegates - 1,
            field="restrictions",
        )
    for signers_below, place in enumerate(range(delegates + 1, len(facts))):
        check_signer(facts[place], signers_below, place)


def check_signer(facts: CertificateFacts, signers_below: int, place: int) -> None:
    """Checks that this certificate may sign, with `signers_below` signing certificates below it."""
    if facts.role is not Role.SIGNER:
        raise VerificationError(
            Reason.NOT_AN_AUTHORITY,
            "it may not sign others, because it is a leaf or a delegate",
            certificate=place,
            field="basicConstraints",
        )
    if facts.path_length is not None and signers_below > facts.path_length:
        raise VerificationError(
            Reason.PATH_TOO_LONG,
            f"it allows {facts.path_length} signing certificates below it, the chain has {signers_below}",
            certificate=place,
            field="pathLenConstraint",
        )


def check_signature(facts: list[NamedFacts], place: int) -> None:
    """Checks that the next certificate signed the one at `place`."""
    if is_signed_by(facts[place], facts[place + 1]):
        return
    check_order(facts)
    raise VerificationError(
        Reason.BAD_SIGNATURE,
        "the key of its issuer did not sign it",
        certificate=place,
        field="signatureValue",
    )


def check_identifier(subject: CertificateFacts, issuer: CertificateFacts, place: int) -> None:
    """Checks that the authority key identifier, where there is one, is of `issuer`.

    OpenSSL takes a certificate for an issuer only if all parts of the identifier fit it, even if its key
    signed.
    """
    stated = subject.issuer_identifier
    if stated is None:
        return
    names = [
        one.value.public_bytes()
        for one in stated.authority_cert_issuer or ()
        if isinstance(one, x509.DirectoryName)
    ]
    for wrong, what in (
        (
            None not in (stated.key_identifier, issuer.key_identifier)
            and stated.key_identifier != issuer.key_identifier,
            "the key identifier",
        ),
        (stated.authority_cert_serial_number not in (None, issuer.serial), "the serial number"),
        (bool(names) and names[0] != issuer.parts.issuer, "the issuer's name"),
    ):
        if wrong:
            raise VerificationError(
                Reason.ISSUER_MISMATCH,
                f"it states {what} of another issuer's certificate",
                certificate=place,
                field="authorityKeyIdentifier",
            )


def check_order(facts: list[NamedFacts]) -> None:
    """After a wrong signature: raises a more exact reason if the names show a wrong order, a circle, an
    unknown root or a wrong issuer.

    Only for a chain that has already failed: it compares names, and equal names prove nothing.
    """
    subjects = [one.parts.subject for one in facts]
    issuers = [one.parts.issuer for one in facts]
    last = len(facts) - 1
    linked = [issuers[place] == subjects[place + 1] for place in range(last)]
    for place, issuer in enumerate(issuers):
        if issuer in subjects and (place == last or not linked[place]):
            other = subjects.index(issuer)
            reason, message = (
                Reason.OUT_OF_ORDER,
                f"its issuer is certificate {other}, which must come next",
            )
            if other == place == last:
                reason, message = Reason.UNRECOGNISED_ROOT, "it is a root that is not recognised"
            elif other <= place and all(linked[other:place]):
                reason, message = Reason.CYCLIC, f"its issuer is certificate {other}, which closes a circle"
            raise VerificationError(reason, message, certificate=place, field="issuer")
    if not all(linked):
        place = linked.index(False)
        raise VerificationError(
            Reason.ISSUER_MISMATCH,
            f"its issuer is not the next certificate, {facts[place + 1].name}",
            certificate=place,
            field="issuer",
        )


def check_nested(subject: NamedFacts, issuer: CertificateFacts, place: int) -> None:
    """Checks that the subject's name extends its issuer's, and that its time is within its issuer's."""
    if isinstance(issuer, NamedFacts) and not subject.name.is_extension_of(issuer.name):
        raise VerificationError(
            Reason.NAME_NOT_EXTENDED,
            f"its name {subject.name} does not extend its issuer's, {issuer.name}",
            certificate=place,
            field="subjectAltName" if subject.role is Role.LEAF and not subject.restricted else "subject",
        )
    for field, inside, own, bound in (
        ("notBefore", subject.not_before >= issuer.not_before, subject.not_before, issuer.not_before),
        ("notAfter", subject.not_after <= issuer.not_after, subject.not_after, issuer.not_after),
    ):
        if not inside:
            raise VerificationError(
                Reason.TIMES_DO_NOT_NEST,
                f"{own.isoformat()} is outside of its issuer's time, which has {bound.isoformat()}",
                certificate=place,
                field=field,
            )


def is_signed_by(subject: CertificateFacts, issuer: CertificateFacts) -> bool:
    """Whether `subject` names `issuer` as its issuer, and the key of `issuer` signed `subject`."""
    return (
        subject.parts.issuer == issuer.parts.subject
        and subject.parts.outer_algorithm == SIGNATURE_ALGORITHMS[issuer.key_kind]
        and keys.is_signed(issuer.public_key, subject.parts.signed, subject.parts.signature)
    )


def as_verification_error(error: InvalidCertificate) -> VerificationError:
    """The VerificationError for a chain that contains an invalid certificate."""
    reason = Reason.WEAK_KEY if isinstance(error, UnacceptableKey) else Reason.MALFORMED
    return VerificationError(reason, error.problem, certificate=error.certificate, field=error.field)
