"""The watcher: learns of new roots and revocation lists from the cluster agent.

Its request states which versions are in force here, and whose lists are used here. The answer contains the
roots, and only describes the lists: what was revoked cannot delay the roots. It also contains the JWT keys
and the bundles of other trust domains. A cluster agent of a version
without revocation lists does not know the route; it is tried again from time to time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from blessings import BlessingsError, Name, Roots
from pod_agent.errors import SeekError, Untrustworthy
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.revocation_lists import MOST_SHOWN_BYTES, HeldLists, Index, PublishedList
from pod_agent.trust_bundles import TrustBundles
from service.log import get_logger
from service.supervisor import BackOff, Task

_log = get_logger("pod_agent")
_UNKNOWN_QUESTION = "NotServed"
_CONNECTION_ENDED = "ConnectionEnded"
_PAUSE_WITHOUT_LISTS_SECONDS = 600.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0
_UNREADY_SECONDS = 120.0
# Longer than the keeper's back-off for the same cluster agent: an identity is needed before its lists.
_BACK_OFF = BackOff(8.0, 30.0)


@dataclass(frozen=True)
class Published:
    """A publication's version and content, which is not read yet."""

    version: int
    content: Any


@dataclass(frozen=True)
class News:
    """The answer to a request for news. What did not change is None."""

    ask_again_after_seconds: float
    index: Index | None = None
    roots_version: int = 0
    roots: Roots | None = None
    jwt_keys: Published | None = None
    federation: Published | None = None


class NewsSource(Protocol):
    """A source of new revocation lists and roots."""

    async def news(self, current: Identity, have: Mapping[str, int], applications: Sequence[str]) -> News:
        """What a replica that has these versions lacks; of the lists, those of `applications`. Raises
        SeekError."""


class Renewing(Protocol):
    """Can be told that the current identity is no longer accepted."""

    def start_over(self) -> None: ...


class Watcher:
    """Keeps the roots and bundles of `current` up to date, `lists`, and which of these the Workload API
    shows."""

    def __init__(
        self,
        source: NewsSource,
        current: CurrentIdentity,
        lists: HeldLists,
        keeper: Renewing,
        *,
        chance: Callable[[], float],
    ) -> None:
        self._source = source
        self._current = current
        self._keeper = keeper
        self._chance = chance
        self._lists = lists
        self._shown: list[PublishedList] | None = None
        self._roots: Roots | None = None
        self._roots_version = 0
        self._jwt_keys = Published(0, None)
        self._federation = Published(0, {"bundles": {}})

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
        self._lists.set_own(str(Name(identity.name.components[:-1])))
        applications = self._lists.applications
        try:
            news = await self._source.news(identity, self._have(identity), applications)
        except SeekError as error:
            if error.reason == _UNKNOWN_QUESTION:
                return _PAUSE_WITHOUT_LISTS_SECONDS
            # A connection that ends may be a proxy's doing, and a new identity costs a certificate. If the
            # cluster agent does not accept ours, the renewal learns it.
            if error.start_over and error.reason != _CONNECTION_ENDED:
                self._keeper.start_over()
            raise
        await self._take(news, identity)
        if news.index is not None:
            self._lists.take(news.index, applications)
        await self._show(identity)
        asked = min(max(news.ask_again_after_seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        # The random part spreads replicas that started together.
        return asked * (0.9 + 0.2 * self._chance())

    def _have(self, identity: Identity) -> dict[str, int]:
        return {
            "crl": self._version_in_force(),
            "roots": self._roots_version_in_force(identity),
            "jwt-keys": self._jwt_keys.version,
            "federation": self._federation.version,
        }

    def _version_in_force(self) -> int:
        """0 while the Workload API shows other lists than the newest: what is acknowledged must be in
        force."""
        return self._lists.version if self._shown == self._lists.own()[0] else 0

    def _roots_version_in_force(self, identity: Identity) -> int:
        """0 when a renewal has brought other roots than ours: they may be older, and what is acknowledged
        must be in force."""
        return self._roots_version if identity.roots == self._roots else 0

    async def _take(self, news: News, identity: Identity) -> None:
        if news.roots is not None:
            await self._current.set_roots(news.roots)
            self._roots = news.roots
            self._roots_version = news.roots_version
            _log.info("roots", version=news.roots_version, roots=len(news.roots))
        if news.jwt_keys is not None or news.federation is not None:
            await self._take_bundles(
                news.jwt_keys or self._jwt_keys, news.federation or self._federation, identity
            )

    async def _take_bundles(self, jwt_keys: Published, federation: Published, identity: Identity) -> None:
        """Makes the Workload API show these bundles. Raises Untrustworthy, and keeps the previous ones, when
        one cannot be read."""
        try:
            keys = None if jwt_keys.content is None else jwt_keys.content["keys"]
            federated = federation.content["bundles"]
            bundles = TrustBundles.of(identity.name.trust_domain, keys, federated)
        except (BlessingsError, KeyError, TypeError, AttributeError) as error:
            raise Untrustworthy("AnswerMalformed", f"the bundles cannot be read: {error!r}") from error
        await self._current.set_bundles(bundles)
        self._jwt_keys, self._federation = jwt_keys, federation
        _log.info(
            "bundles", jwtKeys=jwt_keys.version, federation=federation.version, trustDomains=len(federated)
        )

    async def _show(self, identity: Identity) -> None:
        """Makes the Workload API show the lists of the Pod's own application. Raises SeekError."""
        shown, left_out = self._lists.own()
        if shown == self._shown:
            return
        await self._current.set_lists(tuple([await self._lists.content(identity, one) for one in shown]))
        self._shown = shown
        _log.info("revocation lists", version=self._lists.version, lists=len(shown))
        for one in left_out:
            _log.warning(
                "revocation list not in the Workload API: too large",
                issuer=one.application,
                bytes=one.size,
                most=MOST_SHOWN_BYTES,
            )


def parse_news(document: Mapping[str, Any]) -> News:
    """The news in an answer. Raises Untrustworthy."""
    try:
        pause = _finite(document["askAgainAfterSeconds"])
        publications = document["publications"]
        roots_version, roots = _parse_roots(publications.get("roots"))
        crl = publications.get("crl")
        index = None if crl is None else Index.parse(crl["version"], crl["content"])
        jwt_keys, federation = (_published(publications.get(kind)) for kind in ("jwt-keys", "federation"))
        return News(pause, index, roots_version, roots, jwt_keys, federation)
    except (BlessingsError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Untrustworthy("AnswerMalformed", f"the news cannot be read: {error!r}") from error


def _published(publication: Mapping[str, Any] | None) -> Published | None:
    if publication is None:
        return None
    return Published(int(publication["version"]), publication["content"])


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
