"""Asks the cluster agent what is new: revocation lists and roots. Asking says which versions are in
force here.

A cluster agent from before there were lists does not know the question; it is asked again now and then.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from blessings import BlessingsError, RevocationLists, Roots
from pod_agent.errors import SeekError, Untrustworthy
from pod_agent.identity import CurrentIdentity, Identity
from service.supervisor import BackOff, Task

_log = structlog.get_logger("pod_agent")
_UNKNOWN_QUESTION = "NotServed"
_PAUSE_WITHOUT_LISTS_SECONDS = 600.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0
_UNREADY_SECONDS = 120.0
# The keeper asks the same cluster agent sooner: an identity is needed before its lists.
_BACK_OFF = BackOff(8.0, 30.0)


@dataclass(frozen=True)
class News:
    """`lists` that are new since the version asked with; `version` is what one has with them. `roots` and
    their version likewise, None where they are the same."""

    version: int
    lists: RevocationLists
    ask_again_after_seconds: float
    roots_version: int = 0
    roots: Roots | None = None


class NewsSource(Protocol):
    """Whoever knows what is new."""

    async def news(self, current: Identity, version: int, roots_version: int) -> News:
        """What a replica with these versions lacks. Raises SeekError."""


class Renewing(Protocol):
    """Whoever can be told that the identity of now is good for nothing any more."""

    def start_over(self) -> None: ...


class Watcher:
    """Keeps the lists of `current` up to date."""

    def __init__(
        self,
        source: NewsSource,
        current: CurrentIdentity,
        keeper: Renewing,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._source = source
        self._current = current
        self._keeper = keeper
        self._now = now
        self._chance = chance
        self._version = 0
        self._roots_version = 0

    def task(self) -> Task:
        return Task(
            "revocation-lists",
            self.round,
            period=_SHORTEST_PAUSE_SECONDS,
            failure="revocation lists not read",
            expected=(SeekError,),
            unready_after_seconds=_UNREADY_SECONDS,
            back_off=_BACK_OFF,
        )

    async def round(self) -> float:
        """Asks what is new, puts it into force, and returns the seconds until it asks again. Raises
        SeekError."""
        identity = self._current.value
        if identity is None:
            return _SHORTEST_PAUSE_SECONDS
        try:
            news = await self._source.news(identity, self._version, self._roots_version)
        except SeekError as error:
            if error.reason == _UNKNOWN_QUESTION:
                return _PAUSE_WITHOUT_LISTS_SECONDS
            if error.start_over:
                self._keeper.start_over()
            raise
        await self._take(news)
        asked = min(max(news.ask_again_after_seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        # Replicas that started together do not ask together.
        return asked * (0.9 + 0.2 * self._chance())

    async def _take(self, news: News) -> None:
        if news.roots is not None:
            await self._current.set_roots(news.roots)
            self._roots_version = news.roots_version
            _log.info("roots", version=news.roots_version, roots=len(news.roots))
        if news.version == self._version:
            return
        await self._current.set_lists(self._current.lists.merged(news.lists, self._now()))
        _log.info("revocation lists", version=news.version, lists=len(self._current.lists.entries))
        self._version = news.version


def parse_news(document: Mapping[str, Any], version: int) -> News:
    """The news in an answer to somebody with `version` of the lists. Raises Untrustworthy."""
    try:
        pause = float(document["askAgainAfterSeconds"])
        publications = document["publications"]
        roots_version, roots = _parse_roots(publications.get("roots"))
        crl = publications.get("crl")
        if crl is None:
            return News(version, RevocationLists(), pause, roots_version, roots)
        ders = [base64.b64decode(one["crl"], validate=True) for one in crl["content"]]
        return News(int(crl["version"]), RevocationLists.of(ders), pause, roots_version, roots)
    except (BlessingsError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Untrustworthy("AnswerMalformed", f"the news cannot be read: {error!r}") from error


def _parse_roots(publication: Mapping[str, Any] | None) -> tuple[int, Roots | None]:
    if publication is None:
        return 0, None
    roots = Roots.from_json(publication["content"])
    if not len(roots):
        raise ValueError("no roots")
    return int(publication["version"]), roots
