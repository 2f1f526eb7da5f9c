"""The current revocation lists: one for each issuer name and key, because plain verifiers look lists up by
these.

Every replica of the agent makes them from the store, independently: a list with the number n contains what
was revoked at the number n. A list is made again when its content changed, or half of its lifetime has
passed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import structlog

from blessings import BlessingsError, Name, Principal, RevocationList
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store import Store
from cluster_agent.store.published_revocations import Issuer, Published, RevokedCertificate

_log = structlog.get_logger(__name__)


class CurrentLists:
    """A publication of kind `crl`. The successor of a list comes within `lifetime`.

    Attributes:
        not_made: how many issuers' lists could not be made at the last attempt; the log names them.
    """

    kind = "crl"

    def __init__(
        self, store: Store, room: SigningRoom, lifetime: timedelta, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self.not_made = 0
        self._room = room
        self._lifetime = lifetime
        self._now = now
        self._published = Published(0, datetime.fromtimestamp(0, now().tzinfo), 0)
        self._lists: dict[Issuer, RevocationList] = {}
        self._by_name: dict[str, dict[str, RevocationList]] = {}
        self._whole_index: bytes | None = None
        self._issuers: list[Issuer] = []
        self._one_at_a_time = asyncio.Lock()

    @property
    def version(self) -> int:
        return self._published.number

    @property
    def required(self) -> int:
        return self._published.last_revocation

    @property
    def ends_at(self) -> datetime | None:
        """When the first of the lists ends; None without lists."""
        return min((one.next_update for one in self._lists.values()), default=None)

    def after(self, _version: int, applications: Collection[str]) -> list[dict[str, object]]:
        """Which lists these applications have now. The lists themselves are fetched one by one: what is
        revoked must not keep an answer from its replica."""
        return self.index(applications)

    def index(self, applications: Collection[str]) -> list[dict[str, object]]:
        """Describes each list of these applications."""
        return [
            {"issuer": name, "key": key, "number": one.number, "bytes": len(one.to_der())}
            for name in dict.fromkeys(applications)
            for key, one in self.by_key(name).items()
        ]

    def whole_index(self) -> bytes:
        """The index of all applications in JSON: one object, until it changes."""
        if self._whole_index is None:
            self._whole_index = self.index_document(self._by_name)
        return self._whole_index

    def index_document(self, applications: Collection[str]) -> bytes:
        return json.dumps({"version": self.version, "lists": self.index(applications)}).encode()

    def of(self, issuer: str) -> list[RevocationList]:
        """The lists of the issuer with that name: one for each key that signed under it."""
        return list(self.by_key(issuer).values())

    def by_key(self, issuer: str) -> Mapping[str, RevocationList]:
        """The same by the fingerprint of the key."""
        return self._by_name.get(issuer, {})

    async def refresh(self) -> None:
        """Updates the lists from the store. A list that cannot be made stays as it was, and is tried again
        with the next number. May raise Unavailable."""
        async with self._one_at_a_time:
            now = self._now()
            # Only the leader: replicas whose clocks differ would replace each other's lists all the time.
            if await self._store.lead():
                # At once at the start: the number in a restored store is that of lists from before.
                age = self._lifetime / 2 if self._published.number else timedelta(0)
                await self._store.published_revocations.publish_if_older(age, now)
            published = await self._store.published_revocations.state()
            issuers = await self._store.published_revocations.issuers(now)
            if published.number == self._published.number and issuers == self._issuers:
                return
            # An entry stays until one list that is issued after its certificate's end (RFC 5280, section
            # 3.3).
            certificates = await self._store.published_revocations.certificates(now - self._lifetime)
            self._lists = await asyncio.to_thread(self._make, published, issuers, certificates)
            self._by_name, self._whole_index = {}, None
            for issuer, one in self._lists.items():
                self._by_name.setdefault(issuer.name, {})[issuer.issuing_key] = one
            self._published, self._issuers = published, issuers
            _log.debug("revocation lists made", number=published.number, lists=len(self._lists))

    async def drop_expired(self) -> None:
        """Removes from the store what is no longer on any list."""
        now = self._now()
        await self._store.published_revocations.drop_expired(now - self._lifetime, now)

    def _make(
        self, published: Published, issuers: list[Issuer], certificates: list[RevokedCertificate]
    ) -> dict[Issuer, RevocationList]:
        revoked: dict[Issuer, list[RevokedCertificate]] = {issuer: [] for issuer in issuers}
        for one in certificates:
            revoked.setdefault(one.issuer, []).append(one)
        made, failed = {}, 0
        for issuer, of_issuer in revoked.items():
            key = self._room.issuing_key(issuer.issuing_key)
            if key is None:
                failed += 1
                _log.error("no revocation list: the issuing key is not here", issuer=issuer.name)
                continue
            earlier = self._lists.get(issuer)
            try:
                made[issuer] = self._list(issuer, key, of_issuer, earlier, published)
            # A ValueError: a serial number that is none, written by somebody with access to the database.
            except (BlessingsError, ValueError) as error:
                # This failure must not delay other applications' lists.
                failed += 1
                _log.error(
                    "revocation list not made, the old one stays",
                    issuer=issuer.name,
                    certificates=len(of_issuer),
                    error=str(error),
                )
                if earlier is not None:
                    made[issuer] = earlier
        self.not_made = failed
        return made

    def _list(
        self,
        issuer: Issuer,
        key: Principal,
        revoked: list[RevokedCertificate],
        earlier: RevocationList | None,
        published: Published,
    ) -> RevocationList:
        """The issuer's list: the earlier one, if that still contains the same and is young. Raises
        BlessingsError or ValueError."""
        # A time of revocation that is later than the list was noted by a clock that was ahead.
        entries = {int(one.serial, 16): min(one.revoked_at, published.at) for one in revoked}
        if (
            earlier is not None
            and earlier.serials == entries.keys()
            and earlier.this_update <= published.at
            and earlier.next_update - published.at > self._lifetime / 2
        ):
            return earlier
        return RevocationList.sign(
            Name.parse(issuer.name),
            key.signing_key,
            entries,
            number=published.number,
            this_update=published.at,
            lifetime=self._lifetime,
        )
