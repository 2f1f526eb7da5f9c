"""The verifier of presented chains: which names they prove, and why the others prove none.

The checks, in their order: the chain's length; for each certificate from the leaf up its form, key, critical
extensions and time; for each certificate and its issuer the signature, the key identifier, and that name and
time nest; the roles; the root recognised, valid now, and trusted for the leaf's name; no certificate revoked;
every caveat of every certificate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from blessings.blessing import Blessing
from blessings.caveats.checker import Checker
from blessings.caveats.discharges import Discharges
from blessings.caveats.kinds import Call
from blessings.errors import InvalidCertificate, Reason, VerificationError
from blessings.names import Name
from blessings.profile.reader import CertificateFacts, NamedFacts
from blessings.roots import Roots
from blessings.verification.chain import (
    as_verification_error,
    check_alone,
    check_identifier,
    check_nested,
    check_roles,
    check_shape,
    check_signature,
)
from blessings.verification.policy import SVIDS_ONLY, Policy
from blessings.verification.revocation import check_revocation
from blessings.verification.root import check_root

_ANY_CALL = Call()
_NONE = Discharges()


@dataclass(frozen=True)
class Rejection:
    """A presented blessing that proves nothing. `presented` is None when it does not even claim a name.

    `certificate` and `field` locate the error, as in VerificationError.
    """

    presented: Name | None
    reason: Reason
    message: str
    certificate: int | None = None
    field: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The result for some presented blessings: the valid names, and why each other blessing proves none."""

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
    """Judges each blessing on its own. Each that proves no name is in `rejected`, with the reason."""
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
    """The name that `blessing` proves at the time `now`, for this `call`. Raises VerificationError.

    Caveats are judged by `call`: a method or peer caveat fails when `call` does not state the method or
    names.
    """
    chain = _without_root(blessing.certificates, roots)
    check_shape(chain, policy)
    try:
        facts = [_check_certificate(blessing, place, now, policy) for place in range(len(chain))]
    except InvalidCertificate as error:
        raise as_verification_error(error) from error
    for place in range(len(chain) - 1):
        check_signature(facts, place)
        check_identifier(facts[place], facts[place + 1], place)
        check_nested(facts[place], facts[place + 1], place)
    check_roles(facts, policy)
    root = check_root(chain[-1], facts, roots, now, policy)
    check_revocation(facts, root, chain, now, policy)
    checker = Checker(now, call, policy.registry, discharges)
    for place, one in enumerate([*facts, root]):
        _check_caveats(one, checker, place)
    return facts[0].name


def _check_certificate(blessing: Blessing, place: int, now: datetime, policy: Policy) -> NamedFacts:
    facts = blessing.facts(place)
    check_alone(facts, place, now, policy)
    return facts


def _check_caveats(facts: CertificateFacts, checker: Checker, place: int) -> None:
    failure = checker.first_failure(facts.caveats)
    if failure is not None:
        raise VerificationError(
            failure.reason,
            failure.message,
            certificate=place,
            field=f"restrictions.caveats[{failure.position}]",
        )


def _without_root(chain: tuple[x509.Certificate, ...], roots: Roots) -> tuple[x509.Certificate, ...]:
    """Removes the root, which peers may send too. It counts as the root only if it equals one that we
    hold."""
    if any(chain[-1] == root.certificate for root in roots):
        return chain[:-1]
    return chain


def _claimed_name(blessing: Blessing) -> Name | None:
    try:
        return blessing.presented
    except InvalidCertificate:
        return None
