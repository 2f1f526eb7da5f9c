"""Verification: which names a presented chain proves, and why not the others.

The checks, in their order: the chain's length; for each certificate from the leaf up its form, key, critical
extensions and time; for each two neighbours the signature, and names and times that nest; the roles; the
root recognised, valid now, and trusted for the leaf's name; no certificate revoked; every caveat of every
certificate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from blessings import keys
from blessings.blessing import Blessing
from blessings.caveats import Call
from blessings.certificates import MAX_CHAIN_LENGTH as MAX_CHAIN_LENGTH
from blessings.checking import Checker
from blessings.discharges import Discharges
from blessings.errors import InvalidCertificate, Reason, UnacceptableKey, VerificationError
from blessings.names import Name
from blessings.policy import SVIDS_ONLY, Policy
from blessings.reading import SIGNATURE_ALGORITHMS, CertificateFacts, NamedFacts, Role
from blessings.revocation import WithoutList
from blessings.roots import Root, Roots

_ANY_CALL = Call()
_NONE = Discharges()


@dataclass(frozen=True)
class Rejection:
    """A presented blessing that proves nothing. `presented` is None when it does not even claim a name.

    `certificate` and `field` say where it is wrong, as in VerificationError.
    """

    presented: Name | None
    reason: Reason
    message: str
    certificate: int | None = None
    field: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What presented blessings prove: the valid names, and why the others are not among them."""

    valid: tuple[Name, ...]
    rejected: tuple[Rejection, ...]


def verify(
    blessings: Iterable[Blessing],
    roots: Roots,
    *,
    now: datetime,
    policy: Policy = SVIDS_ONLY,
    call: Call = _ANY_CALL,
    discharges: Discharges = _NONE,
) -> Verdict:
    """Judges each blessing on its own; none of them is dropped without a reason."""
    valid: list[Name] = []
    rejected: list[Rejection] = []
    for blessing in blessings:
        try:
            name = verify_blessing(blessing, roots, now=now, policy=policy, call=call, discharges=discharges)
            valid.append(name)
        except VerificationError as error:
            where = (error.certificate, error.field)
            rejected.append(Rejection(_claimed_name(blessing), error.reason, str(error), *where))
    return Verdict(tuple(valid), tuple(rejected))


def verify_blessing(
    blessing: Blessing,
    roots: Roots,
    *,
    now: datetime,
    policy: Policy = SVIDS_ONLY,
    call: Call = _ANY_CALL,
    discharges: Discharges = _NONE,
) -> Name:
    """The name that `blessing` proves at the time `now`, for this use of it. Raises VerificationError.

    `call` is what caveats are judged by: a method or peer caveat fails where nothing is said of it.
    """
    chain = _without_root(blessing.certificates, roots)
    _check_shape(chain, policy)
    try:
        facts = [_check_certificate(blessing, place, now, policy) for place in range(len(chain))]
    except InvalidCertificate as error:
        raise _as_verification_error(error) from error
    for place in range(len(chain) - 1):
        _check_signature(facts, place)
        _check_nested(facts[place], facts[place + 1], place)
    _check_roles(facts, policy)
    root = _check_root(chain[-1], facts, roots, now, policy)
    _check_revocation(facts, root, chain, now, policy)
    checker = Checker(now, call, policy.registry, discharges)
    for place, one in enumerate([*facts, root]):
        _check_caveats(one, checker, place)
    return facts[0].name


def _check_shape(chain: tuple[x509.Certificate, ...], policy: Policy) -> None:
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


def _check_certificate(blessing: Blessing, place: int, now: datetime, policy: Policy) -> NamedFacts:
    facts = blessing.facts(place)
    _check_alone(facts, place, now, policy)
    return facts


def _check_alone(facts: CertificateFacts, place: int, now: datetime, policy: Policy) -> None:
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


def _check_roles(facts: list[NamedFacts], policy: Policy) -> None:
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
        _check_signer(facts[place], signers_below, place)


def _check_signer(facts: CertificateFacts, signers_below: int, place: int) -> None:
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


def _check_nested(subject: NamedFacts, issuer: CertificateFacts, place: int) -> None:
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


def _check_signature(facts: list[NamedFacts], place: int) -> None:
    if _is_signed_by(facts[place], facts[place + 1]):
        return
    _check_order(facts)
    raise VerificationError(
        Reason.BAD_SIGNATURE,
        "it is not signed by the key of its issuer",
        certificate=place,
        field="signatureValue",
    )


def _check_order(facts: list[NamedFacts]) -> None:
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


def _check_root(
    last: x509.Certificate, facts: list[NamedFacts], roots: Roots, now: datetime, policy: Policy
) -> CertificateFacts:
    place = len(facts)
    signers = _signers(facts[-1], roots, place)
    if not signers:
        _check_order(facts)
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
    # One of them is enough, whichever it is: roots have no order.
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
    _check_alone(root, place, now, policy)
    _check_signer(root, sum(one.role is Role.SIGNER for one in facts), place)
    _check_nested(facts[-1], root, place - 1)
    return root


def _check_revocation(
    facts: list[NamedFacts],
    root: CertificateFacts,
    chain: tuple[x509.Certificate, ...],
    now: datetime,
    policy: Policy,
) -> None:
    """RFC 5280, section 6.3.3, with lists that are given: those of the issuer's name, signed by its key."""
    if not policy.revocation.entries and policy.without_list is WithoutList.ACCEPT:
        return
    for place, (one, issuer) in enumerate(zip(facts, [*facts[1:], root], strict=True)):
        lists = [
            found
            for found in policy.revocation.by_issuer(one.parts.issuer)
            if found.is_signed_by(issuer.public_key)
        ]
        serial = chain[place].serial_number
        if any(serial in found.serials for found in lists):
            raise VerificationError(
                Reason.REVOKED, "its issuer revoked it", certificate=place, field="serialNumber"
            )
        known = any(found.is_current(now) for found in lists)
        if one.role is Role.LEAF and policy.without_list is WithoutList.REFUSE and not known:
            raise VerificationError(
                Reason.REVOCATION_UNKNOWN,
                "there is no revocation list of now, signed by its issuer, that says that it is not revoked",
                certificate=place,
                field="serialNumber",
            )


def _signers(last: NamedFacts, roots: Roots, place: int) -> list[Root]:
    """The roots that signed the chain's last certificate.

    A root that is outside of the profile fails the chain when it has the issuer's name and no other signed.
    """
    signers, refused = [], None
    for root in roots:
        if root.subject != last.parts.issuer:
            continue
        try:
            if _is_signed_by(last, root.facts):
                signers.append(root)
        except InvalidCertificate as error:
            refused = error
    if refused is not None and not signers:
        raise _as_verification_error(refused.at(place)) from refused
    return signers


def _check_caveats(facts: CertificateFacts, checker: Checker, place: int) -> None:
    failure = checker.first_failure(facts.caveats)
    if failure is not None:
        raise VerificationError(
            failure.reason,
            failure.message,
            certificate=place,
            field=f"restrictions.caveats[{failure.position}]",
        )


def _is_signed_by(subject: CertificateFacts, issuer: CertificateFacts) -> bool:
    return (
        subject.parts.issuer == issuer.parts.subject
        and subject.parts.outer_algorithm == SIGNATURE_ALGORITHMS[issuer.key_kind]
        and keys.is_signed(issuer.public_key, subject.parts.signed, subject.parts.signature)
    )


def _without_root(chain: tuple[x509.Certificate, ...], roots: Roots) -> tuple[x509.Certificate, ...]:
    """Peers may send the root too; it is recognised by being the very certificate that we hold."""
    if any(chain[-1] == root.certificate for root in roots):
        return chain[:-1]
    return chain


def _as_verification_error(error: InvalidCertificate) -> VerificationError:
    reason = Reason.WEAK_KEY if isinstance(error, UnacceptableKey) else Reason.MALFORMED
    return VerificationError(reason, error.problem, certificate=error.certificate, field=error.field)


def _claimed_name(blessing: Blessing) -> Name | None:
    try:
        return blessing.presented
    except InvalidCertificate:
        return None


def _issuer_of(certificate: x509.Certificate) -> str:
    try:
        return repr(certificate.issuer.rfc4514_string()[:300])
    except (ValueError, TypeError):
        # TypeError: a BIT STRING where a text belongs.
        return "that cannot be read"
