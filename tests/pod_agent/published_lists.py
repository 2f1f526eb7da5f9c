"""Revocation lists for tests, and a cluster agent's part in publishing them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from blessings import Authority, Principal, RevocationList
from pod_agent.errors import SeekError, Unreachable
from pod_agent.identity import Identity
from pod_agent.revocation_lists import Index, PublishedList
from pod_agent.watcher import News
from tests.chains import NOW, realm

REALM = realm()
APPLICATION = str(REALM.application.name)
OTHER = "acme:prod:shop:other"


def signed(number: int, *serials: int, of: Authority = REALM.application) -> bytes:
    return RevocationList.sign(
        of.name,
        of.principal.signing_key,
        dict.fromkeys(serials, NOW),
        number=number,
        this_update=NOW,
        lifetime=timedelta(hours=1),
    ).to_der()


def described(
    number: int, application: str = APPLICATION, key: str = "ab:cd", size: int = 300
) -> PublishedList:
    return PublishedList(application, key, number, size)


class Source:
    """Answers questions for news one after the other, then waits; its lists are those in `published`."""

    def __init__(self, *answers: News | SeekError) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.asked_roots: list[int] = []
        self.asked_bundles: list[tuple[int, int]] = []
        self.asked_about: list[list[str]] = []
        self.done = asyncio.Event()
        self.published: dict[str, tuple[PublishedList, bytes]] = {}
        self.version = 1
        self.away = False
        self.fetched: list[PublishedList] = []

    def publish(self, number: int, der: bytes, application: str = APPLICATION) -> PublishedList:
        self.version = max(self.version, number)
        self.published[application] = (described(number, application, size=len(der)), der)
        return self.published[application][0]

    async def news(self, current: Identity, have: Mapping[str, int], applications: Sequence[str]) -> News:
        self.asked.append(have["crl"])
        self.asked_roots.append(have["roots"])
        self.asked_bundles.append((have["jwt-keys"], have["federation"]))
        self.asked_about.append(list(applications))
        if not self.answers:
            self.done.set()
            await asyncio.sleep(3600)
        answer = self.answers.pop(0)
        if isinstance(answer, SeekError):
            raise answer
        return answer

    async def index(self, current: Identity, application: str) -> Index:
        self._answer()
        found = self.published.get(application)
        return Index(self.version, () if found is None else (found[0],))

    async def revocation_list(self, current: Identity, wanted: PublishedList) -> bytes:
        self._answer()
        self.fetched.append(wanted)
        return self.published[wanted.application][1]

    def _answer(self) -> None:
        if self.away:
            raise Unreachable("Unreachable", "away")


def identity(version: int = 1) -> Identity:
    blessing = REALM.blessing
    key = Principal.create()
    return Identity(version, key, blessing, blessing.presented, REALM.roots, blessing.not_after)
