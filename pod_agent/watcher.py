"""The watcher: fetches new revocation lists and roots from the cluster agent.

Its request states which versions are in force here. A cluster agent of a version without revocation lists
does not know the route; it is tried again from time to time.
"""

from __future__ import annotations

import base64
import math
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
_CONNECTION_ENDED = "ConnectionEnded"
_PAUSE_WITHOUT_LISTS_SECONDS = 600.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0
_UNREADY_SECONDS = 120.0
# Longer than the keeper's back-off for the same cluster agent: an identity is needed before its lists.
_BACK_OFF = BackOff(8.0, 30.0)


@dataclass(frozen=True)
class News:
    """The answer to a request for news.

    `lists` are newer than the version in the request, and `version` is the version with them. `roots` and
    their version are None when they did not change.
    """

    version: int
    lists: RevocationLists
    ask_again_after_seconds: float
    roots_version: int = 0
    roots: Roots | None = None


class NewsSource(Protocol):
    """A source of new revocation lists and roots."""

    async def news(self, current: Identity, version: int, roots_version: int) -> News:
        """What a replica with these versions lacks. Raises SeekError."""


class Renewing(Protocol):
    """Can be told that the current identity is no longer accepted."""

    def start_over(self) -> None: ...


class Watcher:
    """Keeps the revocation lists and roots of `current` up to date."""

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
        self._roots: Roots | None = None
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
        """Fetches the news, applies it, and returns the seconds until the next round. Raises SeekError."""
        identity = self._current.value
        if identity is None:
            return _SHORTEST_PAUSE_SECONDS
        try:
            news = await self._source.news(identity, self._version, self._roots_version_in_force(identity))
        except SeekError as error:
            if error.reason == _UNKNOWN_QUESTION:
                return _PAUSE_WITHOUT_LISTS_SECONDS
            # A connection that ends may be a proxy's doing, and a new identity costs a certificate. If the
            # cluster agent does not accept ours, the renewal learns it.
            if error.start_over and error.reason != _CONNECTION_ENDED:
                self._keeper.start_over()
            raise
        await self._take(news)
        asked = min(max(news.ask_again_after_seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        # The random part spreads replicas that started together.
        return asked * (0.9 + 0.2 * self._chance())

    def _roots_version_in_force(self, identity: Identity) -> int:
        """0 when a renewal has brought other roots than ours: they may be older, and what is acknowledged
        must be in force."""
        return self._roots_version if identity.roots == self._roots else 0

    async def _take(self, news: News) -> None:
        if news.roots is not None:
            await self._current.set_roots(news.roots)
            self._roots = news.roots
            self._roots_version = news.roots_version
            _log.info("roots", version=news.roots_version, roots=len(news.roots))
        if news.version == self._version:
            return
        await self._current.set_lists(self._current.lists.merged(news.lists, self._now()))
        self._version = news.version
        _log.info("revocation lists", version=news.version, lists=len(self._current.lists.entries))


def parse_news(document: Mapping[str, Any], version: int) -> News:
    """The news in an answer to a replica with that `version` of the lists. Raises Untrustworthy."""
    try:
        pause = _finite(document["askAgainAfterSeconds"])
        publications = document["publications"]
        roots_version, roots = _parse_roots(publications.get("roots"))
        crl = publications.get("crl")
        if crl is None:
            return News(version, RevocationLists(), pause, roots_version, roots)
        ders = [base64.b64decode(one["crl"], validate=True) for one in crl["content"]]
        return News(int(crl["version"]), RevocationLists.of(ders), pause, roots_version, roots)
    except (BlessingsError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Untrustworthy("AnswerMalformed", f"the news cannot be read: {error!r}") from error


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):  # Python's JSON accepts NaN, which min and max let pass
        raise ValueError(f"{number} is not finite")
    return number


def _parse_roots(publication: Mapping[str, Any] | None) -> tuple[int, Roots | None]:
    if publication is None:
        return 0, None
    roots = Roots.from_json(publication["content"])
    if not len(roots):
        raise ValueError("no roots")
    return int(publication["version"]), roots
