"""The discharging of third-party caveats, at the third party that a caveat names."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from blessings import keys
from blessings.caveats.checker import Checker
from blessings.caveats.discharges import Discharge, Discharges, signed_content
from blessings.caveats.kinds import Call, Caveat, CaveatRegistry, ThirdParty
from blessings.errors import CannotBless
from blessings.principal import Principal


def discharge(
    principal: Principal,
    caveat: ThirdParty,
    *,
    now: datetime,
    call: Call,
    registry: CaveatRegistry,
    discharges: Discharges,
    caveats: Sequence[Caveat],
) -> Discharge:
    """Discharges `caveat` when its conditions hold; `caveats` are the discharger's own, on the discharge.

    `call`, `registry` and `discharges` are what the discharger knows about the client. Raises CannotBless
    when the caveat names another discharger, or a condition does not hold.
    """
    if keys.encoded(caveat.discharger) != keys.encoded(principal.public_key):
        raise CannotBless(
            f"the caveat names the discharger {keys.fingerprint(caveat.discharger)}, "
            f"this one is {keys.fingerprint(principal.public_key)}"
        )
    failure = Checker(now, call, registry, discharges).first_failure(caveat.conditions)
    if failure is not None:
        raise CannotBless(f"condition {failure.position} of the caveat does not hold: {failure.message}")
    content = signed_content(caveat.identifier, tuple(caveats))
    return Discharge(caveat.identifier, tuple(caveats), principal.sign_discharge(content))
