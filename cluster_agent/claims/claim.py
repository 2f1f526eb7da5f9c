"""A claim: an administrator's root delegates the name prefix to the cluster agent's key, once.

    {"chain": <PEM>, "root": <PEM>, "administrators": {"in": ["acme:administrator"], "not_in": []}}

What may be claimed is decided here, from values; `claim_keeper` keeps it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from blessings import AccessList, Blessing, BlessingsError, InvalidAccessList, Name, Principal
from blessings.encoding.chains import to_pem
from cluster_agent.errors import BadRequest, StoreError
from cluster_agent.signing import granted

LEAST_LIFETIME = timedelta(days=1)
_SIGNED_AS = "vanadium cluster agent, claim, version 1"


@dataclass(frozen=True)
class Claim:
    """The content of an administrator's claim: the agent's chain, the root at which it ends, and the access
    list of administrators."""

    chain: Blessing
    root: x509.Certificate
    administrators: AccessList

    @property
    def spelled(self) -> str:
        """The stored form. The agent signs it, so that write access to the database makes no claim."""
        document = {
            "for": _SIGNED_AS,
            "chain": self.chain.to_pem(),
            "root": to_pem([self.root]),
            "administrators": self.administrators.to_value(),
        }
        return json.dumps(document, sort_keys=True)


def check_claim(
    chain_pem: str,
    root_pem: str,
    administrators: object,
    *,
    prefix: Name,
    issuing: Principal,
    longest_ttl: timedelta,
    now: datetime,
) -> Claim:
    """The claim made of these values, if every check passes. Raises BadRequest."""
    root = granted.parse_root(root_pem, prefix.root)
    chain = granted.parse_chain(chain_pem, root)
    granted.check_chain(chain, root, prefix, issuing=issuing, room_below=True, now=now)
    granted.check_time_left(chain, max(LEAST_LIFETIME, 2 * longest_ttl), now)
    return Claim(chain, root, _access_list(administrators, prefix))


def renewed_claim(
    claim: Claim,
    chain_pem: str,
    *,
    prefix: Name,
    issuing: Principal,
    longest_ttl: timedelta,
    now: datetime,
) -> Claim:
    """`claim` with another chain under the same root, if every check passes. Raises BadRequest."""
    chain = granted.parse_chain(chain_pem, claim.root)
    granted.check_chain(chain, claim.root, prefix, issuing=issuing, room_below=True, now=now)
    granted.check_time_left(chain, max(LEAST_LIFETIME, 2 * longest_ttl), now)
    if chain.not_after <= claim.chain.not_after:
        raise BadRequest(
            "NotLonger",
            f"the chain ends at {chain.not_after.isoformat()}, the one in use only at "
            f"{claim.chain.not_after.isoformat()}",
        )
    return replace(claim, chain=chain)


def read_claim(document: str, issuing: Principal, prefix: Name) -> Claim:
    """The claim in the stored `document`. Raises StoreError when it is another agent's."""
    try:
        value = json.loads(document)
        (root,) = Blessing.from_pem(value["root"]).certificates
        claim = Claim(Blessing.from_pem(value["chain"]), root, AccessList.from_value(value["administrators"]))
        # An expired chain still states which root claimed this agent; nothing is signed with it.
        held = claim.chain.not_after - timedelta(seconds=1)
        granted.check_chain(claim.chain, root, prefix, issuing=issuing, room_below=True, now=held)
    except (BlessingsError, BadRequest, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the claim in the store is not this cluster agent's ({error}); start with the keys and the "
            "name prefix that it was claimed with"
        ) from error
    return claim


def _access_list(value: object, prefix: Name) -> AccessList:
    try:
        administrators = AccessList.from_value(value, "administrators")
    except InvalidAccessList as error:
        raise BadRequest("InvalidAdministrators", str(error)) from error
    if not administrators.allowed:
        raise BadRequest("InvalidAdministrators", "administrators.in is empty, so nobody could administer")
    for pattern in administrators.allowed:
        if granted.may_match_below(pattern, prefix):
            raise BadRequest(
                "AdministratorsAmongReplicas",
                f"the pattern {pattern} matches names under {prefix}, so replicas could administer",
            )
        if pattern.name is None or pattern.name.root != prefix.root:
            raise BadRequest(
                "InvalidAdministrators", f"the pattern {pattern} is not under the claimed root {prefix.root}"
            )
    return administrators
