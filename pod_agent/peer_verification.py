"""Which name a peer's chain proves to this Pod, for programs without a verifier of their own.

The roots, the clock and the revocation lists are the Pod's. A list is fetched only for a chain that proves a
name under the roots: a stranger's makes nobody fetch anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from blessings import (
    Blessing,
    Call,
    Discharge,
    Discharges,
    InvalidCertificate,
    InvalidRevocationList,
    Policy,
    RevocationList,
    RevocationLists,
    Verdict,
    verify,
)
from blessings.encoding.canonical import JSON
from blessings.encoding.fields import Fields
from blessings.profile.certificates import MAX_CHAIN_LENGTH
from pod_agent.errors import SeekError
from pod_agent.identity import Identity
from pod_agent.revocation_lists import HeldLists

_OPTIONAL: Mapping[str, JSON] = {"delegations": 0, "method": "", "discharges": []}


@dataclass(frozen=True)
class Question:
    """A peer's chain, and what its caveats are judged by."""

    chain: Blessing
    delegations: int
    method: str | None
    discharges: Discharges

    @classmethod
    def parse(cls, value: JSON) -> Question:
        """Raises BlessingsError for what is no question of the protocol."""
        if isinstance(value, dict):
            value = {**_OPTIONAL, **value}
        fields = Fields(value, "the body", ("chain", *_OPTIONAL))
        discharges = [Discharge.from_json(one) for one in fields.list("discharges")]
        return cls(
            Blessing.from_pem(fields.text("chain")),
            fields.whole_number("delegations", MAX_CHAIN_LENGTH - 1),
            fields.text("method") or None,
            Discharges(tuple(discharges)),
        )


async def verdict(question: Question, identity: Identity, lists: HeldLists, now: datetime) -> dict[str, Any]:
    """The verdict, in the agent protocol's form."""
    judged = _judge(question, identity, now, RevocationLists())
    revocation: Literal["checked", "unavailable"] = "checked"
    if judged.valid:
        try:
            judged = _judge(question, identity, now, await _lists(question.chain, identity, lists))
        except (SeekError, InvalidRevocationList):
            revocation = "unavailable"
    rejected = judged.rejected[0] if judged.rejected else None
    return {
        "name": str(judged.valid[0]) if judged.valid else None,
        "revocation": revocation,
        "rejected": rejected
        and {
            "presented": rejected.presented and str(rejected.presented),
            "reason": rejected.reason,
            "message": rejected.message,
        },
    }


def _judge(question: Question, identity: Identity, now: datetime, lists: RevocationLists) -> Verdict:
    return verify(
        [question.chain],
        identity.roots,
        now=now,
        policy=Policy(max_delegations=question.delegations, revocation=lists),
        call=Call(question.method, (identity.name,)),
        discharges=question.discharges,
    )


async def _lists(chain: Blessing, identity: Identity, lists: HeldLists) -> RevocationLists:
    """The lists of the applications that signed in this chain, with no other serial numbers than its own.
    Raises SeekError, InvalidRevocationList."""
    serials = frozenset(one.serial_number for one in chain.certificates)
    found: list[RevocationList] = []
    for place in range(1, len(chain.certificates)):
        try:
            application = str(chain.facts(place).name)
        except InvalidCertificate:
            continue  # the root, which a peer may send too and which is on no list
        held = await lists.of(identity, application)
        found += [RevocationList.from_der(der, among=serials) for der in held.ders] if held else []
    return RevocationLists(tuple(found))
