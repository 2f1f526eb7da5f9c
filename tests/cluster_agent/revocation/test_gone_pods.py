"""Which Pods are taken for gone, on both stores, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from blessings import Blessing, Principal
from cluster_agent.errors import Forbidden
from cluster_agent.kubernetes.pods import PodList
from cluster_agent.kubernetes.watched import ApiServerAway
from cluster_agent.model import Application
from cluster_agent.revocation.gone_pods import GonePods
from tests.cluster_agents import AgentUnderClock
from tests.csrs import csr_of


class Cluster:
    """An API server that says what the test wants."""

    def __init__(self) -> None:
        self.uids: set[str] = set()
        self.deleted: list[str] = []
        self.away = False

    async def list(self) -> PodList:
        if self.away:
            raise ApiServerAway("away")
        return PodList(frozenset(self.uids), "1")

    async def deletions(self, resource_version: str) -> AsyncIterator[str]:
        for uid in self.deleted:
            yield uid
        if self.away:
            raise ApiServerAway("away")


class Watching:
    def __init__(self, under: AgentUnderClock) -> None:
        self.under = under
        self.cluster = Cluster()
        self.published = 0
        self.gone = GonePods(under.store, self.cluster, self._published, under.clock)

    async def _published(self) -> None:
        self.published += 1

    async def run(self, pod: str) -> Blessing:
        """A pod that is there, with its blessing."""
        self.cluster.uids.add(f"uid-of-{pod}")
        secret = await self.under.secrets.make(self.under.administrator(), Application("shop", "web"))
        return await self.issue(secret.credential.blessing, pod)

    async def issue(self, blessing: Blessing, pod: str) -> Blessing:
        caller = self.under.caller(blessing)
        token = self.under.token(pod, lifetime=timedelta(days=1))
        return (
            await self.under.issuer.seek_blessings(caller, csr_of(Principal.create()), token, None)
        ).blessing

    async def revoked(self) -> set[int]:
        found = await self.under.store.published_revocations.certificates(self.under.clock())
        return {int(one.serial, 16) for one in found}


@pytest.fixture
async def watching(tmp_path: Path, store_url: str) -> AsyncIterator[Watching]:
    under = AgentUnderClock(tmp_path, store_url)
    yield Watching(under)
    await under.store.close()


async def test_a_pod_that_the_watch_says_is_deleted_is_revoked(watching: Watching) -> None:
    gone, stays = await watching.run("web-1"), await watching.run("web-2")
    watching.cluster.deleted = ["uid-of-web-1", "uid-of-somebody-without-identity"]
    await watching.gone.follow()
    await watching.gone.revoke_noted()
    assert await watching.revoked() == {gone.leaf.serial_number}
    assert watching.published == 1
    with pytest.raises(Forbidden, match="revoked"):
        await watching.issue(gone, "web-1")
    await watching.issue(stays, "web-2")


async def test_a_pod_that_is_not_listed_any_more_is_revoked(watching: Watching) -> None:
    gone = await watching.run("web-1")
    await watching.run("web-2")
    watching.cluster.uids.remove("uid-of-web-1")
    await watching.gone.follow()
    assert await watching.revoked() == {gone.leaf.serial_number}


async def test_attack_what_a_cached_token_still_got_after_the_deletion_is_revoked(watching: Watching) -> None:
    """The API server accepts a deleted Pod's token for some seconds more."""
    secret = await watching.under.secrets.make(watching.under.administrator(), Application("shop", "web"))
    watching.gone.note_deleted("uid-of-web-1")
    await watching.gone.revoke_noted()
    late = await watching.issue(secret.credential.blessing, "web-1")
    watching.under.clock.turn(seconds=15)
    await watching.gone.revoke_noted()
    assert await watching.revoked() == {late.leaf.serial_number}


async def test_an_api_server_that_is_away_revokes_nobody(watching: Watching) -> None:
    await watching.run("web-1")
    watching.cluster.uids.clear()
    watching.cluster.away = True
    with pytest.raises(ApiServerAway):
        await watching.gone.follow()
    await watching.gone.revoke_noted()
    assert await watching.revoked() == set()


async def test_a_pod_that_came_after_the_list_began_is_not_absent(watching: Watching) -> None:
    await watching.run("web-1")
    known = await watching.under.store.fleet.live_pods(watching.under.clock())
    await watching.run("web-2")
    await watching.gone.revoke_absent(known, frozenset({"uid-of-web-1"}))
    assert await watching.revoked() == set()


async def test_a_list_without_most_pods_is_not_believed(watching: Watching) -> None:
    for number in range(3):
        await watching.run(f"web-{number}")
    known = frozenset(f"uid-of-web-{number}" for number in range(50))
    await watching.gone.revoke_absent(known, frozenset())
    assert await watching.revoked() == set()
    await watching.gone.revoke_absent(known, known - {"uid-of-web-1"})
    assert len(await watching.revoked()) == 1
