"""The revocation lists of peers, from the pod agent: each when a peer of its issuer is verified.

policy = Policy(revocation=PeerLists(agent))
verify_blessing(peer, agent.roots(), now=now, policy=policy)   # VerificationError: Revoked
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from agent_client.messages import AgentError
from agent_client.process_lock import ProcessLock
from blessings import InvalidRevocationList, Name, PublicKey, RevocationList, RevocationLists
from blessings.keys import encoded

MOST_ISSUERS = 64
MOST_BYTES = 32 << 20
MOST_WAIT_SECONDS = 2.0
# An expired list still proves what it revokes.
_WITHOUT_END = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Kept:
    version: str
    lists: RevocationLists
    size: int


_NONE = _Kept("", RevocationLists(), 0)


@dataclass(frozen=True)
class _Question:
    thread: threading.Thread
    asked: float
    waits_until: float


def replaced(kept: RevocationLists, sent: RevocationLists, key: PublicKey) -> RevocationLists:
    """The lists of one issuer after others were sent, perhaps by an attacker: what the issuer's `key` did not
    sign replaces nothing. Of what it signed, a list with a lower number than that at hand is an old one, sent
    again."""
    signed = RevocationLists(tuple(one for one in sent.entries if one.is_signed_by(key)))
    return kept.merged(signed, _WITHOUT_END)


class ListServer(Protocol):
    """What hands out lists: `AgentClient`, `PublishedLists`."""

    def revocation_lists_since(
        self, application: Name, version: str | None
    ) -> tuple[str, RevocationLists] | None:
        """As of AgentClient."""


class PeerLists:
    """Implements `blessings.RevocationSource`, for use by several threads, with the lists of at most
    MOST_ISSUERS issuers (by name and key) and MOST_BYTES in memory.

    The pod agent is asked each time whether the list at hand is still the newest, which takes a millisecond.
    Another server is asked about an issuer at most every `ask_every_seconds`, in a thread beside: a
    verification may be in an event loop, and the server away. It waits for the answer, at most
    MOST_WAIT_SECONDS, only when the issuer was not asked about within twice `ask_every_seconds`.

    Without an answer the list at hand is used until it ends; without one, `without_list` of the policy
    decides.
    """

    def __init__(
        self,
        agent: ListServer,
        *,
        ask_every_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._agent = agent
        self._ask_every = ask_every_seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, bytes], _Kept] = OrderedDict()
        self._questions: dict[tuple[str, bytes], _Question] = {}
        self._lock = ProcessLock()

    def by_issuer(
        self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
    ) -> Sequence[RevocationList]:
        if name is None or key is None:
            return ()
        place = (str(name), encoded(key))
        if not self._ask_every:
            self._ask(place, name, key)
        else:
            question = self._question(place, name, key)
            question.thread.join(max(0.0, question.waits_until - time.monotonic()))
        with self._lock:
            kept = self._kept.get(place) or _NONE
        return kept.lists.by_issuer(issuer)

    def _question(self, place: tuple[str, bytes], name: Name, key: PublicKey) -> _Question:
        """The last question about this issuer, or a new one."""
        with self._lock:
            now, last = self._clock(), self._questions.get(place)
            since = math.inf if last is None else now - last.asked
            if last is not None and (last.thread.is_alive() or since < self._ask_every):
                return last
            waits = MOST_WAIT_SECONDS if since >= 2 * self._ask_every else 0.0
            thread = threading.Thread(target=self._ask, args=(place, name, key), daemon=True)
            made = _Question(thread, now, time.monotonic() + waits)
            for one, asked in list(self._questions.items()):
                if not asked.thread.is_alive() and now - asked.asked >= 2 * self._ask_every:
                    del self._questions[one]
            self._questions[place] = made
            thread.start()
            return made

    def _ask(self, place: tuple[str, bytes], name: Name, key: PublicKey) -> None:
        with self._lock:
            kept = self._kept.get(place) or _NONE
        kept = self._asked(name, key, kept)
        with self._lock:
            self._kept[place] = kept
            self._kept.move_to_end(place)
            self._make_room()

    def _asked(self, name: Name, key: PublicKey, kept: _Kept) -> _Kept:
        try:
            answer = self._agent.revocation_lists_since(name, kept.version or None)
        except (AgentError, InvalidRevocationList):
            answer = None
        if answer is None:
            return kept
        version, newer = answer
        lists = replaced(kept.lists, newer, key)
        return _Kept(version, lists, sum(len(one.to_der()) for one in lists.entries))

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MOST_ISSUERS or sum(one.size for one in self._kept.values()) > MOST_BYTES
        ):
            self._kept.popitem(last=False)
