"""Verification: which names a presented chain proves, and why not the others.

The checks, in their order: the chain's length; for each certificate from the leaf up its key, critical
extensions, time, and role; each one's signature by the next; each name an extension of its issuer's by
whole components; the root recognised, valid now, and trusted for the leaf's name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from blessings import certificates as profile
from blessings.blessing import Blessing
from blessings.errors import InvalidCertificate, InvalidKey, Reason, VerificationError
from blessings.names import Name
from blessings.roots import Root, Roots

MAX_CHAIN_LENGTH = 10


@dataclass(frozen=True)
class Rejection:
    """A presented blessing that proves nothing. `presented` is None when it does not even claim a name."""

    presented: Name | None
    reason: Reason
    message: str


@dataclass(frozen=True)
class Verdict:
    """What presented blessings prove: the valid names, and why the others are not among them."""

    valid: tuple[Name, ...]
    rejected: tuple[Rejection, ...]


def verify(blessings: Iterable[Blessing], roots: Roots, *, now: datetime) -> Verdict:
    """Judges each blessing on its own; none of them is dropped without a reason."""
    valid: list[Name] = []
    rejected: list[Rejection] = []
    for blessing in blessings:
        try:
            valid.append(verify_blessing(blessing, roots, now=now))
        except VerificationError as error:
            rejected.append(Rejection(_claimed_name(blessing), error.reason, str(error)))
    return Verdict(tuple(valid), tuple(rejected))


def verify_blessing(blessing: Blessing, roots: Roots, *, now: datetime) -> Name:
    """The name that `blessing` proves at the time `now`. Raises VerificationError."""
    chain = _without_root(blessing.certificates, roots)
    if not chain:
        raise VerificationError(Reason.NOT_A_LEAF, "the chain is a root alone, which identifies nobody")
    if len(chain) > MAX_CHAIN_LENGTH:
        raise VerificationError(
            Reason.CHAIN_TOO_LONG,
            f"the chain has {len(chain)} certificates, at most {MAX_CHAIN_LENGTH} are read",
        )
    try:
        _check_certificates(chain, now)
        for position, (subject, issuer) in enumerate(pairwise(chain)):
            _check_issued(subject, issuer, f"certificate {position}")
        return _check_root(chain, roots, now)
    except InvalidCertificate as error:
        raise VerificationError(Reason.MALFORMED, str(error)) from error


def _check_certificates(chain: tuple[x509.Certificate, ...], now: datetime) -> None:
    for position, certificate in enumerate(chain):
        where = f"certificate {position}"
        _check_alone(certificate, where, now)
        if position == 0:
            if profile.is_signing(certificate) or profile.may_sign_certificates(certificate):
                raise VerificationError(Reason.NOT_A_LEAF, f"{where} signs others, so it identifies nobody")
        else:
            _check_role_of_signer(certificate, position - 1, where)


def _check_alone(certificate: x509.Certificate, where: str, now: datetime) -> None:
    try:
        profile.public_key_of(certificate)
    except InvalidKey as error:
        raise VerificationError(Reason.WEAK_KEY, f"{where}: {error}") from error
    if unknown := profile.unknown_critical_extensions(certificate):
        raise VerificationError(
            Reason.UNKNOWN_CRITICAL_EXTENSION, f"{where} has the critical extension {', '.join(unknown)}"
        )
    if now < certificate.not_valid_before_utc:
        raise VerificationError(
            Reason.NOT_YET_VALID, f"{where} is valid from {certificate.not_valid_before_utc.isoformat()}"
        )
    if now >= certificate.not_valid_after_utc:
        raise VerificationError(
            Reason.EXPIRED, f"{where} expired at {certificate.not_valid_after_utc.isoformat()}"
        )


def _check_role_of_signer(certificate: x509.Certificate, signers_below: int, where: str) -> None:
    if not profile.is_signing(certificate) or not profile.may_sign_certificates(certificate):
        raise VerificationError(Reason.NOT_AN_AUTHORITY, f"{where} may not sign others")
    path_length = profile.path_length_of(certificate)
    if path_length is not None and signers_below > path_length:
        raise VerificationError(
            Reason.PATH_TOO_LONG,
            f"{where} allows {path_length} signing certificates below it, the chain has {signers_below}",
        )


def _check_issued(subject: x509.Certificate, issuer: x509.Certificate, where: str) -> None:
    if not _is_signed_by(subject, issuer):
        raise VerificationError(Reason.BAD_SIGNATURE, f"{where} is not signed by the next one")
    name, issuer_name = profile.name_of(subject), profile.name_of(issuer)
    if not name.is_extension_of(issuer_name):
        raise VerificationError(
            Reason.NAME_NOT_EXTENDED, f"{where} says {name}, which does not extend its issuer's {issuer_name}"
        )


def _check_root(chain: tuple[x509.Certificate, ...], roots: Roots, now: datetime) -> Name:
    signers = [root for root in roots if _is_signed_by(chain[-1], root.certificate)]
    if not signers:
        raise VerificationError(
            Reason.UNRECOGNISED_ROOT,
            "no recognised root signed the chain's last certificate "
            f"(issuer {chain[-1].issuer.rfc4514_string()!r})",
        )
    name = profile.name_of(chain[0])
    trusted = [root for root in signers if root.pattern.matches(name)]
    if not trusted:
        raise VerificationError(
            Reason.ROOT_NOT_TRUSTED_FOR_NAME,
            f"the root is trusted for {', '.join(str(root.pattern) for root in signers)}, not for {name}",
        )
    root = _valid_now(trusted, now)
    _check_alone(root.certificate, "the root", now)
    _check_role_of_signer(root.certificate, len(chain) - 1, "the root")
    _check_issued(chain[-1], root.certificate, f"certificate {len(chain) - 1}")
    return name


def _valid_now(roots: list[Root], now: datetime) -> Root:
    """A root of these that is valid now, else the first: its error then says what is wrong."""
    for root in roots:
        if root.certificate.not_valid_before_utc <= now < root.certificate.not_valid_after_utc:
            return root
    return roots[0]


def _is_signed_by(subject: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        # ValueError: the names differ; TypeError: a key of a kind that signs no certificates.
        return False
    return True


def _without_root(chain: tuple[x509.Certificate, ...], roots: Roots) -> tuple[x509.Certificate, ...]:
    """Peers may send the root too; it is recognised by being the very certificate that we hold."""
    if any(chain[-1] == root.certificate for root in roots):
        return chain[:-1]
    return chain


def _claimed_name(blessing: Blessing) -> Name | None:
    try:
        return blessing.presented
    except InvalidCertificate:
        return None
