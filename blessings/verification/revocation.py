"""The check that no certificate of a chain is revoked, by the lists of the policy."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from blessings.errors import Reason, VerificationError
from blessings.profile.fields import Role
from blessings.profile.reader import CertificateFacts, NamedFacts
from blessings.revocation import WithoutList
from blessings.verification.policy import Policy


def check_revocation(
    facts: list[NamedFacts],
    root: CertificateFacts,
    chain: tuple[x509.Certificate, ...],
    now: datetime,
    policy: Policy,
) -> None:
    """Raises VerificationError for a revoked certificate (RFC 5280, section 6.3.3).

    Only lists with the issuer's name and a signature by its key count.
    """
    for place, (one, issuer) in enumerate(zip(facts, [*facts[1:], root], strict=True)):
        name = issuer.name if isinstance(issuer, NamedFacts) else None
        lists = [
            found
            for found in policy.revocation.by_issuer(one.parts.issuer, name, issuer.public_key)
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
                "no current revocation list from its issuer covers it",
                certificate=place,
                field="serialNumber",
            )
