"""The policy of a verifier: what it accepts, as one value.

SVIDS_ONLY                       # the default: no delegates
Policy(max_delegations=3)        # a leaf, and up to three delegates below it
Policy(revocation=lists)         # no certificate that a list revokes
"""

from __future__ import annotations

from dataclasses import dataclass

from blessings.caveats.kinds import CaveatRegistry
from blessings.keys import EVERY_KIND, KeyKind
from blessings.profile.certificates import MAX_CHAIN_LENGTH
from blessings.revocation import RevocationLists, RevocationSource, WithoutList

NO_CUSTOM_CAVEATS = CaveatRegistry()
NO_LISTS = RevocationLists()


@dataclass(frozen=True)
class Policy:
    """What a verifier accepts, beyond the rules that hold for every chain.

    max_delegations: how many delegates may be below the leaf. 0, the default, accepts none: a program that
        does not consider delegation takes no part in it.
    max_chain_length: how many certificates a chain may have without its root, at most 16.
    key_kinds: the accepted kinds of keys, in the chain and the root.
    registry: the user-defined caveats that this verifier knows.
    revocation: the revocation lists that it has, or a source that fetches the list of a peer's issuer when it
        is needed. No certificate of the chain may be on its issuer's list.
    without_list: whether a leaf is accepted when no current list covers it.
    """

    max_delegations: int = 0
    max_chain_length: int = MAX_CHAIN_LENGTH
    key_kinds: frozenset[KeyKind] = EVERY_KIND
    registry: CaveatRegistry = NO_CUSTOM_CAVEATS
    revocation: RevocationSource = NO_LISTS
    without_list: WithoutList = WithoutList.ACCEPT

    def __post_init__(self) -> None:
        if not 1 <= self.max_chain_length <= MAX_CHAIN_LENGTH:
            raise ValueError(f"max_chain_length must be 1 to {MAX_CHAIN_LENGTH}, got {self.max_chain_length}")
        if self.max_delegations < 0:
            raise ValueError(f"max_delegations must not be negative, got {self.max_delegations}")


SVIDS_ONLY = Policy()
WITH_DELEGATION = Policy(max_delegations=MAX_CHAIN_LENGTH - 1)
