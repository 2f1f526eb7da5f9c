"""The revocation lists of peers, from the pod agent: each when a peer of its issuer is verified.

policy = Policy(revocation=PeerLists(agent))
verify_blessing(peer, agent.roots(), now=now, policy=policy)   # VerificationError: Revoked
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from agent_client.client import AgentClient
from agent_client.messages import AgentError
from blessings import InvalidRevocationList, Name, RevocationList, RevocationLists

MOST_ISSUERS = 64
MOST_BYTES = 32 << 20


@dataclass(frozen=True)
class _Kept:
    version: str
    lists: RevocationLists
    size: int


class PeerLists:
    """Implements `blessings.RevocationSource`, for use by several threads, with the lists of at most
    MOST_ISSUERS issuers and MOST_BYTES in memory.

    The pod agent is asked each time whether the list at hand is still the newest, which takes a millisecond.
    Without an answer the list at hand is used until it ends; without one, `without_list` of the policy
    decides.
    """

    def __init__(self, agent: AgentClient) -> None:
        self._agent = agent
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def by_issuer(self, issuer: bytes, name: Name | None = None) -> Sequence[RevocationList]:
        if name is None:
            return ()
        text = str(name)
        with self._lock:
            kept = self._kept.get(text)
        try:
            answer = self._agent.revocation_lists_since(name, kept.version if kept else None)
        except (AgentError, InvalidRevocationList):
            return () if kept is None else kept.lists.by_issuer(issuer)
        if answer is not None:
            version, lists = answer
            kept = _Kept(version, lists, sum(len(one.to_der()) for one in lists.entries))
        assert kept is not None  # noqa: S101 - for mypy; only a version that we stated is unchanged
        with self._lock:
            self._kept[text] = kept
            self._kept.move_to_end(text)
            self._make_room()
        return kept.lists.by_issuer(issuer)

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MOST_ISSUERS or sum(one.size for one in self._kept.values()) > MOST_BYTES
        ):
            self._kept.popitem(last=False)
