"""Asks the cluster agent what is new: revocation lists and roots. Asking says which versions are in
force here.

A cluster agent from before there were lists does not know the question; it is asked again now and then.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from blessings import BlessingsError, RevocationLists, Roots
from pod_agent.errors import SeekError, Untrustworthy
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.renewal import pause_before_retry

_log = structlog.get_logger("pod_agent")
_UNKNOWN_QUESTION = "NotServed"
_PAUSE_WITHOUT_LISTS_SECONDS = 600.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0


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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._current = current
        self._keeper = keeper
        self._now = now
        self._chance = chance
        self._sleep = sleep
        self._version = 0
        self._roots_version = 0

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        failures = 0
        while True:
            identity = self._current.value
            if identity is None:
                await self._sleep(_SHORTEST_PAUSE_SECONDS)
                continue
            try:
                news = await self._source.news(identity, self._version, self._roots_version)
            except SeekError as error:
                failures += 1
                await self._sleep(self._pause_after(error, failures))
                continue
            failures = 0
            await self._take(news)
            asked = min(max(news.ask_again_after_seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
            # Replicas that started together do not ask together.
            await self._sleep(asked * (0.9 + 0.2 * self._chance()))

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

    def _pause_after(self, error: SeekError, failures: int) -> float:
        if error.reason == _UNKNOWN_QUESTION:
            return _PAUSE_WITHOUT_LISTS_SECONDS
        log = _log.warning if failures == 1 else _log.debug
        log("revocation lists not read", reason=error.reason, message=str(error))
        if error.start_over:
            self._keeper.start_over()
        pause = pause_before_retry(failures + 4, self._chance(), error.retry_after_seconds)
        return pause.total_seconds()


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
