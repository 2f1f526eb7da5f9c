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
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from agent_client.messages import AgentError
from agent_client.process_lock import ProcessLock
from blessings import InvalidRevocationList, Name, PublicKey, RevocationList, RevocationLists
from blessings.keys import encoded

MOST_ISSUERS = 64
MOST_BYTES = 32 << 20
MOST_QUESTIONS = 256
MOST_WAIT_SECONDS = 2.0
# An expired list still proves what it revokes.
_WITHOUT_END = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class _Kept:
    version: str
    lists: RevocationLists
    size: int


_NONE = _Kept("", RevocationLists(), 0)


@dataclass
class _Question:
    asked: float
    waits_until: float
    thread: threading.Thread = field(init=False)
    answer: _Kept | None = None  # also of a server that is away; None if the thread stayed in a fork's parent


def newest_signed(kept: RevocationLists, sent: RevocationLists, key: PublicKey) -> RevocationLists:
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
    MOST_WAIT_SECONDS, only when the issuer was not asked about within twice `ask_every_seconds`, or its list
    had to make room for others. At most MOST_QUESTIONS are under way or remembered.

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
        kept = self._answer(place, name, key) if self._ask_every else self._ask(place, name, key)
        return kept.lists.by_issuer(issuer)

    def _answer(self, place: tuple[str, bytes], name: Name, key: PublicKey) -> _Kept:
        """What is at hand, after a wait for the question about it."""
        question = self._question(place, name, key)
        if question is not None:
            question.thread.join(max(0.0, question.waits_until - time.monotonic()))
        with self._lock:
            kept = self._kept.get(place)
            if kept is not None:
                self._keep(place, kept)
                return kept
            return question.answer or _NONE if question is not None else _NONE

    def _question(self, place: tuple[str, bytes], name: Name, key: PublicKey) -> _Question | None:
        """The last question about this issuer, or a new one; None when no thread can ask it."""
        with self._lock:
            now, last = self._clock(), self._questions.get(place)
            if last is not None and last.thread.is_alive():
                return last
            since = math.inf if last is None or last.answer is None else now - last.asked
            if since < self._ask_every:
                return last
            if last is None and not self._room_for_question():
                return None
            waits = MOST_WAIT_SECONDS if since >= 2 * self._ask_every else 0.0
            made = _Question(now, time.monotonic() + waits)
            made.thread = threading.Thread(target=self._put, args=(made, place, name, key), daemon=True)
            try:
                made.thread.start()
            except RuntimeError:  # too many threads, or the interpreter ends
                return None
            self._questions.pop(place, None)
            self._questions[place] = made
            return made

    def _room_for_question(self) -> bool:
        if len(self._questions) < MOST_QUESTIONS:
            return True
        ended = next((one for one, asked in self._questions.items() if not asked.thread.is_alive()), None)
        if ended is not None:
            del self._questions[ended]
        return ended is not None

    def _put(self, question: _Question, place: tuple[str, bytes], name: Name, key: PublicKey) -> None:
        question.answer = self._ask(place, name, key)

    def _ask(self, place: tuple[str, bytes], name: Name, key: PublicKey) -> _Kept:
        with self._lock:
            kept = self._kept.get(place) or _NONE
        kept = self._asked(name, key, kept)
        with self._lock:
            self._keep(place, kept)
            self._make_room()
        return kept

    def _keep(self, place: tuple[str, bytes], kept: _Kept) -> None:
        self._kept[place] = kept
        # An issuer without a list, perhaps a key that an attacker made for this, displaces no list.
        self._kept.move_to_end(place, last=bool(kept.lists.entries))

    def _asked(self, name: Name, key: PublicKey, kept: _Kept) -> _Kept:
        try:
            answer = self._agent.revocation_lists_since(name, kept.version or None)
        except (AgentError, InvalidRevocationList):
            answer = None
        if answer is None:
            return kept
        version, newer = answer
        lists = newest_signed(kept.lists, newer, key)
        return _Kept(version, lists, sum(len(one.to_der()) for one in lists.entries))

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > MOST_ISSUERS or sum(one.size for one in self._kept.values()) > MOST_BYTES
        ):
            place, kept = self._kept.popitem(last=False)
            if kept.lists.entries:
                self._questions.pop(place, None)  # asked again at once
