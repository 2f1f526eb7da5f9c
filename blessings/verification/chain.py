"""What a chain is checked for by itself, whichever roots are recognised.

Its length; each certificate's key, critical extensions and time; of each two neighbours the signature, and
names and times that nest; the roles. Each check raises VerificationError; `place` is where in the chain, 0
for the leaf.
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
    """That there is a leaf, and no more than is read, and nothing twice."""
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
                Reason.CYCLIC, f"it is the certificate {earlier} once more", certificate=place
            )


def check_alone(facts: CertificateFacts, place: int, now: datetime, policy: Policy) -> None:
    """What needs no other certificate: key, critical extensions, time."""
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
            f"it has the critical extension {', '.join(facts.unknown_critical)[:300]}",
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
    """Delegates, then one leaf, then signing certificates, none of them with more below than it allows."""
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
                "it signs others, so it identifies nobody",
                certificate=0,
                field="basicConstraints",
            )
        raise VerificationError(
            Reason.NOT_A_LEAF,
            "a delegate is blessed by a leaf or another delegate, and this one by neither",
            certificate=delegates - 1,
            field="restrictions",
        )
    for signers_below, place in enumerate(range(delegates + 1, len(facts))):
        check_signer(facts[place], signers_below, place)


def check_signer(facts: CertificateFacts, signers_below: int, place: int) -> None:
    """That it may sign, with so many signing certificates below it."""
    if facts.role is not Role.SIGNER:
        raise VerificationError(
            Reason.NOT_AN_AUTHORITY,
            "it may not sign others, it is a leaf or a delegate",
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
    """That the certificate at `place` is signed by the next one."""
    if is_signed_by(facts[place], facts[place + 1]):
        return
    check_order(facts)
    raise VerificationError(
        Reason.BAD_SIGNATURE,
        "it is not signed by the key of its issuer",
        certificate=place,
        field="signatureValue",
    )


def check_order(facts: list[NamedFacts]) -> None:
    """Says of a chain that does not hold together, whether its certificates are those of another order.

    Only for what went wrong already: equal names prove nothing.
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
                f"its issuer is certificate {other}, which must be the next",
            )
            if other == place == last:
                reason, message = Reason.UNRECOGNISED_ROOT, "it is a root that is not recognised"
            elif other <= place and all(linked[other:place]):
                reason, message = Reason.CYCLIC, f"its issuer is certificate {other}, and the chain a circle"
            raise VerificationError(reason, message, certificate=place, field="issuer")
    if not all(linked):
        place = linked.index(False)
        raise VerificationError(
            Reason.ISSUER_MISMATCH,
            f"its issuer is not the next one, {facts[place + 1].name}",
            certificate=place,
            field="issuer",
        )


def check_nested(subject: NamedFacts, issuer: CertificateFacts, place: int) -> None:
    """That the subject's name extends its issuer's, and its time is within its issuer's."""
    if isinstance(issuer, NamedFacts) and not subject.name.is_extension_of(issuer.name):
        raise VerificationError(
            Reason.NAME_NOT_EXTENDED,
            f"it says {subject.name}, which does not extend its issuer's {issuer.name}",
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
    """Whether the issuer has the name that the subject says, and the key that signed it."""
    return (
        subject.parts.issuer == issuer.parts.subject
        and subject.parts.outer_algorithm == SIGNATURE_ALGORITHMS[issuer.key_kind]
        and keys.is_signed(issuer.public_key, subject.parts.signed, subject.parts.signature)
    )


def as_verification_error(error: InvalidCertificate) -> VerificationError:
    """A certificate outside of the profile, as the reason why a chain proves nothing."""
    reason = Reason.WEAK_KEY if isinstance(error, UnacceptableKey) else Reason.MALFORMED
    return VerificationError(reason, error.problem, certificate=error.certificate, field=error.field)
