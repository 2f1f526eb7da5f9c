"""Revocation lists reach the application, and a replica whose secret was revoked starts over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from spiffe import WorkloadApiClient

from blessings import (
    Policy,
    Principal,
    Reason,
    RevocationList,
    RevocationLists,
    VerificationError,
    verify_blessing,
)
from pod_agent.errors import Refused, SeekError, Unreachable, Untrustworthy
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.watcher import News, Watcher, parse_news
from service.supervisor import Supervisor
from tests.chains import NOW, realm
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import eventually, mount, running_pod_agent, short_directory
from tests.workload_api import x509_svids


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path, shortest_poll_seconds=1) as running:
        yield running


def test_a_revoked_peer_is_refused_by_the_lists_of_the_pod_agent(agent: RunningClusterAgent) -> None:
    with (
        short_directory() as ours,
        short_directory() as theirs,
    ):
        mount(ours, agent, "watching-1")
        mount(theirs, agent, "watching-2")
        with (
            running_pod_agent(ours, agent.url) as watching,
            running_pod_agent(theirs, agent.url) as peer,
        ):
            watching.wait_until_blessed()
            peer.wait_until_blessed()
            client = watching.client()
            eventually("lists", lambda: client.revocation_lists().entries)
            presented = peer.client().chain().blessing
            with agent.control_plane_client() as administrator:
                body = {"name": str(presented.presented)}
                administrator.post("/v1/revoke", json=body).raise_for_status()

            def refused() -> bool:
                policy = Policy(revocation=client.revocation_lists())
                try:
                    verify_blessing(
                        presented,
                        client.roots(),
                        now=presented.not_before + timedelta(minutes=2),
                        policy=policy,
                    )
                except VerificationError as error:
                    return error.reason is Reason.REVOKED
                return False

            eventually("the revocation", refused)
            assert [
                RevocationList.from_der(der).number for der in served_lists(watching.workload_socket)
            ] == [one.number for one in client.revocation_lists().entries]
            # The unmodified client reads a message with lists.
            with WorkloadApiClient(watching.workload_socket) as workload:
                svid = workload.fetch_x509_svid()
            assert str(svid.spiffe_id).endswith("/watching-1")
            eventually("the acknowledgement", lambda: acknowledged(agent) == (1, 1))


def served_lists(socket: str) -> list[bytes]:
    """The CRL field of the Workload API's answer, by the messages of the unmodified client."""
    with grpc.insecure_channel(socket) as channel:
        answer = next(iter(x509_svids(channel, timeout=60)))
    return list(answer.crl)


def acknowledged(agent: RunningClusterAgent) -> tuple[int, int]:
    """Live replicas, and those of them that have the last revocation. The revoked one is not live."""
    with agent.control_plane_client() as client:
        crl = client.get("/v1/acknowledgements").json()["kinds"]["crl"]
    return crl["liveReplicas"], crl["acknowledged"]


class Source:
    """Answers one after the other, then waits."""

    def __init__(self, *answers: News | SeekError) -> None:
        self.answers = list(answers)
        self.asked: list[int] = []
        self.asked_roots: list[int] = []
        self.done = asyncio.Event()

    async def news(self, current: Identity, version: int, roots_version: int) -> News:
        self.asked.append(version)
        self.asked_roots.append(roots_version)
        if not self.answers:
            self.done.set()
            await asyncio.sleep(3600)
        answer = self.answers.pop(0)
        if isinstance(answer, SeekError):
            raise answer
        return answer


class KeeperDouble:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = 0

    def start_over(self) -> None:
        self.told += 1


REALM = realm()


def lists(number: int) -> RevocationLists:
    signer = REALM.application
    made = RevocationList.sign(
        signer.name,
        signer.principal.signing_key,
        {number: NOW},
        number=number,
        this_update=NOW,
        lifetime=timedelta(hours=1),
    )
    return RevocationLists((made,))


async def watched(*answers: News | SeekError) -> tuple[Source, KeeperDouble, CurrentIdentity, list[float]]:
    clock = Clock(NOW)
    current = CurrentIdentity(clock)
    blessing = REALM.blessing
    await current.set(
        Identity(1, Principal.create(), blessing, blessing.presented, REALM.roots, blessing.not_after)
    )
    source, keeper, pauses = Source(*answers), KeeperDouble(), list[float]()

    async def sleep(seconds: float) -> None:
        if seconds:  # not before the first round
            pauses.append(seconds)

    watcher = Watcher(source, current, keeper, now=clock, chance=lambda: 0.5)
    one = watcher.task()
    supervisor = Supervisor([one], chance=lambda: 0.5, sleep=sleep)
    task = asyncio.create_task(supervisor.repeat(one))
    await asyncio.wait_for(source.done.wait(), 60)
    task.cancel()
    return source, keeper, current, pauses


async def test_what_is_in_force_is_what_is_said_to_be() -> None:
    source, _, current, pauses = await watched(
        News(4, lists(4), 15), News(4, RevocationLists(), 15), News(5, lists(5), 1000)
    )
    assert source.asked == [0, 4, 4, 5]
    assert pauses == [15, 15, 1000]
    (kept,) = current.lists.entries
    assert kept.number == 5


async def test_whose_secret_was_revoked_starts_over_and_who_was_revoked_itself_does_not() -> None:
    _, keeper, _, _ = await watched(Refused("SecretForgotten", "forgotten"))
    assert keeper.told == 1
    _, keeper, _, _ = await watched(Refused("Revoked", "revoked"), Unreachable("Unreachable", "away"))
    assert keeper.told == 0


async def test_a_watch_that_breaks_does_not_cost_a_certificate() -> None:
    _, keeper, _, _ = await watched(*[Unreachable("ConnectionEnded", "the proxy closed it")] * 3)
    assert keeper.told == 0


async def test_older_roots_of_a_renewal_are_not_acknowledged_as_the_newer_version() -> None:
    clock, blessing = Clock(NOW), REALM.blessing
    current = CurrentIdentity(clock)

    def identity(version: int) -> Identity:
        key, name = Principal.create(), blessing.presented
        return Identity(version, key, blessing, name, REALM.roots, blessing.not_after)

    await current.set(identity(1))
    newer = REALM.roots + realm().roots
    source = Source(*[News(0, RevocationLists(), 15, 7, newer), News(0, RevocationLists(), 15)] * 2)
    watcher = Watcher(source, current, KeeperDouble(), now=clock, chance=lambda: 0.5)
    await watcher.round()
    await watcher.round()
    await current.set(identity(2))  # answered before the change of roots, and arrived after it
    await watcher.round()
    await watcher.round()
    assert source.asked_roots == [0, 7, 0, 7]
    assert current.value is not None
    assert current.value.roots == newer


async def test_a_cluster_agent_without_lists_is_asked_seldom() -> None:
    _, keeper, current, pauses = await watched(Refused("NotServed", "404"))
    assert pauses == [600]
    assert current.lists.entries == ()
    assert keeper.told == 0


async def test_the_lists_wake_the_workload_api_and_stay_through_a_renewal() -> None:
    clock = Clock(NOW)
    current = CurrentIdentity(clock)
    blessing = REALM.blessing
    one = Identity(1, Principal.create(), blessing, blessing.presented, REALM.roots, blessing.not_after)
    await current.set(one)
    seen = current.revisions()
    assert (await anext(seen)).version == 1
    await current.set_lists(lists(3))
    assert (await anext(seen)).version == 1
    await current.set(Identity(2, one.principal, blessing, one.name, one.roots, one.renew_at))
    assert (await anext(seen)).version == 2
    assert current.lists.entries
    await current.close()
    with pytest.raises(StopAsyncIteration):
        await anext(seen)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"askAgainAfterSeconds": 1, "publications": []},
        {"askAgainAfterSeconds": 1, "publications": {"crl": {"version": 1, "content": [{"crl": "AAAA"}]}}},
        {"askAgainAfterSeconds": 1, "publications": {"crl": {"version": 1, "content": [{"crl": "%"}]}}},
    ],
)
def test_lists_that_cannot_be_read_are_not_taken(document: dict[str, object]) -> None:
    with pytest.raises(Untrustworthy):
        parse_news(document, 0)


async def test_new_roots_are_in_force_at_once_with_the_blessing_of_before() -> None:
    other = REALM.roots + realm().roots
    _, _, current, _ = await watched(
        News(0, RevocationLists(), 15, 3, other),
        News(0, RevocationLists(), 15),
        News(0, RevocationLists(), 15),
    )
    assert current.value is not None
    assert current.value.roots == other
    assert current.value.blessing == REALM.blessing


def test_roots_in_an_answer_are_read_or_the_answer_is_not_believed() -> None:
    def answer(content: object) -> dict[str, object]:
        return {"askAgainAfterSeconds": 15, "publications": {"roots": {"version": 7, "content": content}}}

    news = parse_news(answer(REALM.roots.to_json()), 4)
    assert (news.version, news.roots_version, news.roots) == (4, 7, REALM.roots)
    for content in ([], [{"certificate": "", "pattern": "acme"}], None, [{"pattern": "acme"}]):
        with pytest.raises(Untrustworthy, match="the news cannot be read"):
            parse_news(answer(content), 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"askAgainAfterSeconds": float("nan")},
        {"askAgainAfterSeconds": float("inf")},
        {"askAgainAfterSeconds": -float("inf")},
        {"askAgainAfterSeconds": "nan"},
        {"askAgainAfterSeconds": 10**400},
        {"publications": {"crl": {"version": float("inf"), "content": []}}},
        {"publications": {"crl": {"version": float("nan"), "content": []}}},
        {"publications": {"roots": {"version": float("inf"), "content": REALM.roots.to_json()}}},
    ],
)
def test_attack_news_with_a_number_that_is_not_finite_are_not_believed(changes: dict[str, Any]) -> None:
    """Python's JSON knows NaN and Infinity, and 1e999 is one too."""
    with pytest.raises(Untrustworthy):
        parse_news({"askAgainAfterSeconds": 15, "publications": {}, **changes}, 0)
