"""Delegation: the holder of a blessing blesses another key under its own name, without asking an authority.

    phone = delegate(alice, alices_blessing, phones_key, "phone", now=now, lifetime=hour)
    verify_blessing(phone, roots, now=now, policy=WITH_DELEGATION)      # acme:alice:phone

The result is never an X.509-SVID: its certificate has the critical extension of
`blessings.profile.restrictions` and no SPIFFE ID, and its issuer is CA:FALSE. Each of these alone makes X.509
verifiers refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from blessings.blessing import Blessing
from blessings.caveats.kinds import Caveat
from blessings.errors import CannotBless, InvalidCertificate
from blessings.keys import PublicKey, encoded
from blessings.principal import Principal
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
    """Gives `public_key` the name of `blessing`, which belongs to `principal`, followed by `extension`.

    The result never outlives `blessing`. `public_key` may be the principal's own, to add caveats to its name.
    Raises CannotBless when `blessing` belongs to another key, is a signing certificate, is not valid now, or
    is already as long as a chain may be; InvalidName for the extension; InvalidCaveat for too many caveats.
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
            f"the chain of {facts.name} has {profile.MAX_CHAIN_LENGTH} certificates already, the maximum"
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
