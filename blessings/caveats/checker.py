"""The judgement of caveats, for one use of a blessing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from blessings.caveats.discharges import Discharges
from blessings.caveats.kinds import (
    Call,
    Caveat,
    CaveatRegistry,
    Custom,
    Expiry,
    Methods,
    PeerBlessings,
    ThirdParty,
)
from blessings.errors import InvalidCaveat, Reason


@dataclass(frozen=True)
class Failure:
    """The first caveat that does not hold: its position in the sequence, and why."""

    position: int
    reason: Reason
    message: str


class Checker:
    """Judges caveats for one call at one time. Each third-party caveat is judged once.

    A discharge may have third-party caveats of its own. One that depends on itself, through others, does not
    hold.
    """

    def __init__(self, now: datetime, call: Call, registry: CaveatRegistry, discharges: Discharges) -> None:
        self._now = now
        self._call = call
        self._registry = registry
        self._discharges = discharges
        self._judged: dict[str, tuple[Reason, str] | None] = {}

    def first_failure(self, caveats: Sequence[Caveat]) -> Failure | None:
        """The first caveat that does not hold, or None when every caveat holds."""
        for position, caveat in enumerate(caveats):
            why = self._why_not(caveat)
            if why is not None:
                return Failure(position, *why)
        return None

    def _why_not(self, caveat: Caveat) -> tuple[Reason, str] | None:
        match caveat:
            case Expiry():
                message = None if self._now < caveat.at else f"it expired at {caveat.at.isoformat()}"
            case Methods():
                message = self._why_not_method(caveat)
            case PeerBlessings():
                message = self._why_not_peer(caveat)
            case ThirdParty():
                return self._why_not_discharged(caveat)
            case Custom() if caveat.kind in self._registry.checks:
                message = self._why_not_custom(caveat)
            case _:
                return Reason.UNKNOWN_CAVEAT, f"this verifier does not know the caveat {caveat.kind!r:.250}"
        return None if message is None else (Reason.CAVEAT_FAILED, message)

    def _why_not_method(self, caveat: Methods) -> str | None:
        if self._call.method in caveat.methods:
            return None
        return f"it allows the methods {_listed(caveat.methods)}, the call's method is {self._call.method}"

    def _why_not_peer(self, caveat: PeerBlessings) -> str | None:
        if any(pattern.matches(name) for pattern in caveat.patterns for name in self._call.own_names):
            return None
        return (
            f"it allows talking to {_listed(caveat.patterns)}, "
            f"the verifier is {_listed(self._call.own_names) or 'nobody'}"
        )

    def _why_not_custom(self, caveat: Custom) -> str | None:
        try:
            return self._registry.checks[caveat.kind](caveat.parameters, self._call, self._now)
        except InvalidCaveat as error:
            return str(error)

    def _why_not_discharged(self, caveat: ThirdParty) -> tuple[Reason, str] | None:
        identifier = caveat.identifier
        if identifier not in self._judged:
            self._judged[identifier] = Reason.MISSING_DISCHARGE, "its discharge depends on itself"
            self._judged[identifier] = self._judge(caveat)
        return self._judged[identifier]

    def _judge(self, caveat: ThirdParty) -> tuple[Reason, str] | None:
        why = f"it needs a discharge from {caveat.location!r:.200}, none was presented"
        for discharge in self._discharges.of(caveat):
            if not discharge.is_signed_by(caveat.discharger):
                why = "its discharge is not signed by the discharger"
                continue
            failure = self.first_failure(discharge.caveats)
            if failure is None:
                return None
            why = f"its discharge's caveat {failure.position} does not hold: {failure.message}"
        return Reason.MISSING_DISCHARGE, why


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))[:500]
