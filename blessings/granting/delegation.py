"""Delegation: who has a name blesses somebody else's key under it, without asking anybody.

    phone = delegate(alice, alices_blessing, phones_key, "phone", now=now, lifetime=hour)
    verify_blessing(phone, roots, now=now, policy=WITH_DELEGATION)      # acme:alice:phone

The result is no X.509-SVID and never becomes one: its certificate has the critical extension of
`blessings.profile.restrictions`, no SPIFFE ID, and an issuer that is CA:FALSE. X.509 verifiers refuse it for
each of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from blessings.blessing import Blessing
from blessings.caveats.kinds import Caveat
from blessings.errors import CannotBless, InvalidCertificate
from blessings.keys import PublicKey, encoded
from blessings.principals.principal import Principal
from blessings.profile import certificates as profile
from blessings.profile.fields import Role


def delegate(
    principal: Principal,
    blessing: Blessing,
    public_key: PublicKey,
    extension: str,
    *,
    now: datetime,
    lifetime: timedelta,
    caveats: Sequence[Caveat] = (),
) -> Blessing:
    """Names `public_key` with the name of `blessing`, which is the principal's own, and `extension`.

    It never outlives `blessing`. `public_key` may be the principal's own, for the same with more caveats.
    Raises CannotBless when `blessing` is another key's, a signing certificate's, not valid now, or as long
    as a chain may be; InvalidName for the extension; InvalidCaveat for too many caveats.
    """
    try:
        facts = blessing.facts(0)
    except InvalidCertificate as error:
        raise CannotBless(f"the blessing is outside of the profile: {error}") from error
    if encoded(facts.public_key) != encoded(principal.public_key):
        raise CannotBless(f"the blessing {facts.name} belongs to another key")
    if facts.role is Role.SIGNER:
        raise CannotBless(f"{facts.name} is a signing certificate; an Authority blesses with it")
    if len(blessing.certificates) >= profile.MAX_CHAIN_LENGTH:
        raise CannotBless(
            f"the chain of {facts.name} has {profile.MAX_CHAIN_LENGTH} certificates, no verifier reads more"
        )
    check_valid_now(blessing, now)
    begin, end = profile.validity(now, lifetime, blessing.leaf)
    certificate = profile.build_delegate_certificate(
        facts.name.extend(extension),
        public_key,
        issuer=blessing.leaf,
        issuer_key=principal.signing_key,
        not_before=begin,
        not_after=end,
        caveats=caveats,
    )
    return Blessing((certificate, *blessing.certificates))


def check_valid_now(blessing: Blessing, now: datetime) -> None:
    """Raises CannotBless when a certificate of the chain is not valid at `now`."""
    try:
        begin, end = blessing.not_before, blessing.not_after
    except InvalidCertificate as error:
        raise CannotBless(f"the blessing is outside of the profile: {error}") from error
    if now < begin:
        raise CannotBless(f"{blessing.presented} is not valid before {begin.isoformat()}")
    if now >= end:
        raise CannotBless(f"{blessing.presented} expired at {end.isoformat()}")
