"""The revocation lists of those applications that this Pod's clients ask about.

The watch keeps up to date which lists these applications have. A list itself is fetched when a client asks
for it and the one at hand is older. So a Pod pays for the applications whose replicas it talks with, and not
for all others, and what is held has a limit.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography import x509

from blessings import Name
from blessings.profile.certificates import subject_of
from blessings.revocation import MAX_BYTES
from pod_agent.errors import Refused, Unreachable, Untrustworthy
from pod_agent.identity import Identity

MOST_APPLICATIONS = 64
# Their names are in each request for news, of which the cluster agent reads 64 KiB.
MOST_NAME_BYTES = 48 * 1024
MOST_KEPT_BYTES = MAX_BYTES
# What a Workload API answer has for them: 1 MiB, less a quarter for the identity.
MOST_SHOWN_BYTES = 3 << 18
_UNKNOWN_QUESTION = "NotServed"
_NO_SUCH_LIST = "UnknownIssuer"


@dataclass(frozen=True)
class PublishedList:
    """A revocation list as the cluster agent describes it. Another list of this application and key has a
    higher number."""

    application: str
    key: str
    number: int
    size: int


@dataclass(frozen=True)
class Index:
    """Which lists there are, in one version."""

    version: int
    lists: tuple[PublishedList, ...]

    @classmethod
    def parse(cls, version: Any, lists: Any) -> Index:
        """Raises ValueError, KeyError, TypeError or OverflowError for something else than an index."""
        return cls(
            int(version),
            tuple(
                PublishedList(str(one["issuer"]), str(one["key"]), int(one["number"]), int(one["bytes"]))
                for one in lists
            ),
        )

    def of(self, application: str) -> dict[str, PublishedList]:
        return {one.key: one for one in self.lists if one.application == application}


class ListSource(Protocol):
    """A source of revocation lists. Every call may raise SeekError."""

    async def index(self, current: Identity, application: str) -> Index: ...

    async def revocation_list(self, current: Identity, wanted: PublishedList) -> bytes:
        """The list in DER."""


@dataclass(frozen=True)
class ApplicationLists:
    """The lists of one application in DER, and the version of this content."""

    version: str
    ders: tuple[bytes, ...]


@dataclass(frozen=True)
class _Known:
    version: int
    lists: Mapping[str, PublishedList]


@dataclass(frozen=True)
class _Kept:
    number: int
    der: bytes


class HeldLists:
    """What is known of at most MOST_APPLICATIONS applications, and at most MOST_KEPT_BYTES of their lists: of
    those that were asked for last."""

    def __init__(self, source: ListSource) -> None:
        self._source = source
        self._own = ""
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        # One list at a time is in memory twice.
        self._fetching = asyncio.Lock()

    @property
    def applications(self) -> list[str]:
        return list(self._known)

    @property
    def version(self) -> int:
        """The version of the lists as of which everything here is up to date; 0 when something is not known
        yet."""
        return min((one.version for one in self._known.values()), default=0)

    def set_own(self, application: str) -> None:
        """Names the Pod's own application, which is watched whether or not a client asks about it."""
        self._own = application
        self._known.setdefault(application, _Known(0, {}))

    def own(self) -> tuple[list[PublishedList], list[PublishedList]]:
        """The lists of the Pod's own application: those that the Workload API shows, and those that are too
        large for it."""
        shown, left_out, size = [], [], 0
        for one in self._known[self._own].lists.values():
            if size + one.size <= MOST_SHOWN_BYTES:
                shown.append(one)
                size += one.size
            else:
                left_out.append(one)
        return shown, left_out

    def take(self, index: Index, asked: Collection[str]) -> None:
        """Notes the answer to a question about the applications in `asked`."""
        for application in asked:
            if application in self._known:
                self._note(application, index)

    async def version_of(self, current: Identity, application: str) -> str | None:
        """The version of the application's lists, without fetching them; None when it has none. Raises
        SeekError."""
        if application not in self._known:
            try:
                index = await self._source.index(current, application)
            except Refused as error:
                if error.reason == _UNKNOWN_QUESTION:  # a cluster agent of 0.1.0
                    return None
                raise
            self._note(application, index)
        self._known.move_to_end(application)
        return self._version_text(application)

    async def of(self, current: Identity, application: str) -> ApplicationLists | None:
        """The application's lists; None when it has none. Raises SeekError."""
        if await self.version_of(current, application) is None:
            return None
        wanted = self._known[application].lists.values()
        ders = tuple([await self.content(current, one) for one in wanted])
        return ApplicationLists(self._version_text(application) or "", ders)

    async def content(self, current: Identity, wanted: PublishedList) -> bytes:
        """The list itself, or a newer one. Raises SeekError."""
        place = (wanted.application, wanted.key)
        async with self._fetching:
            kept = self._kept.get(place)
            if kept is None or kept.number < wanted.number:
                kept = await self._fetch(current, wanted)
                self._kept[place] = kept
            self._kept.move_to_end(place)
            while len(self._kept) > 1 and sum(len(one.der) for one in self._kept.values()) > MOST_KEPT_BYTES:
                self._kept.popitem(last=False)
        return kept.der

    async def _fetch(self, current: Identity, wanted: PublishedList) -> _Kept:
        try:
            der = await self._source.revocation_list(current, wanted)
        except Refused as error:
            if error.reason == _NO_SUCH_LIST:
                # It ended since; what there is instead is asked again.
                self._forget(wanted.application)
            raise
        kept = _Kept(_number(der, wanted), der)
        if kept.number < wanted.number:
            # Another replica of the cluster agent answered, which learns of the list within seconds.
            raise Unreachable("ListBehind", f"the list of {wanted.application} is older than announced")
        return kept

    def _note(self, application: str, index: Index) -> None:
        before, now = self._known.get(application), index.of(application)
        if before is not None:
            for key, one in now.items():
                known = before.lists.get(key)
                if known is not None and known.number > one.number:
                    # A replica of the cluster agent that is seconds behind: nothing is un-revoked meanwhile.
                    now[key] = known
        self._known[application] = _Known(index.version, dict(sorted(now.items())))
        while len(self._known) > MOST_APPLICATIONS or sum(map(len, self._known)) > MOST_NAME_BYTES:
            self._forget(next(one for one in self._known if one not in (self._own, application)))

    def _forget(self, application: str) -> None:
        if application == self._own:
            self._known[application] = _Known(0, {})
        else:
            self._known.pop(application, None)
        for place in [one for one in self._kept if one[0] == application]:
            del self._kept[place]

    def _version_text(self, application: str) -> str | None:
        known = self._known.get(application)
        if known is None or not known.lists:
            return None
        numbers = []
        for key, one in known.lists.items():
            kept = self._kept.get((application, key))
            number = one.number if kept is None else max(one.number, kept.number)
            numbers.append(f"{number}-{key[:11].replace(':', '')}")
        return ".".join(numbers)


def _number(der: bytes, wanted: PublishedList) -> int:
    """The list's number. Raises Untrustworthy for bytes that are no list of that application: clients of the
    Workload API would refuse the whole answer."""
    try:
        crl = x509.load_der_x509_crl(der)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        ours = crl.issuer == subject_of(Name.parse(wanted.application))
    except (ValueError, TypeError, x509.InvalidVersion, x509.ExtensionNotFound) as error:
        raise Untrustworthy("ListMalformed", f"the list of {wanted.application}: {error}") from error
    if not ours:
        raise Untrustworthy("OtherList", f"the list of {wanted.application} is another issuer's")
    return number
