"""Revocation lists reach the application, and a replica whose secret was revoked starts over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from spiffe import WorkloadApiClient

from agent_client import PeerLists
from blessings import Name, Policy, Reason, RevocationList, VerificationError, verify_blessing
from pod_agent.errors import Refused, SeekError, Unreachable, Untrustworthy
from pod_agent.identity import CurrentIdentity
from pod_agent.revocation_lists import HeldLists, Index
from pod_agent.watcher import News, Watcher, parse_news
from service.supervisor import Supervisor
from tests.chains import NOW, realm
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.log_lines import captured_lines
from tests.pod_agent.published_lists import APPLICATION, REALM, Source, described, identity, signed
from tests.pod_agent.running import eventually, mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS
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
            presented = peer.client().chain().blessing
            application = Name(presented.presented.components[:-1])
            eventually("a list", lambda: client.revocation_lists(application).entries)
            policy = Policy(revocation=PeerLists(client))
            with agent.control_plane_client() as administrator:
                body = {"name": str(presented.presented)}
                administrator.post("/v1/revoke", json=body).raise_for_status()

            def refused() -> bool:
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
            eventually(
                "the list in the Workload API",
                lambda: presented.leaf.serial_number in served_serials(watching.workload_socket),
            )
            # The unmodified client reads a message with lists.
            with WorkloadApiClient(watching.workload_socket) as workload:
                svid = workload.fetch_x509_svid()
            assert str(svid.spiffe_id).endswith("/watching-1")
            eventually("the acknowledgement", lambda: acknowledged(agent) == (1, 1))


def served_serials(socket: str) -> set[int]:
    """The revoked serial numbers in the Workload API's answer, by the messages of the unmodified client."""
    with grpc.insecure_channel(socket) as channel:
        answer = next(iter(x509_svids(channel, timeout=PATIENCE_SECONDS)))
    return {serial for der in answer.crl for serial in RevocationList.from_der(der).serials}


def acknowledged(agent: RunningClusterAgent) -> tuple[int, int]:
    """Live replicas, and those of them that have the last revocation. The revoked one is not live."""
    with agent.control_plane_client() as client:
        crl = client.get("/v1/acknowledgements").json()["kinds"]["crl"]
    return crl["liveReplicas"], crl["acknowledged"]


class KeeperDouble:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told = 0

    def start_over(self) -> None:
        self.told += 1


@dataclass
class Watched:
    source: Source
    keeper: KeeperDouble
    current: CurrentIdentity
    lists: HeldLists
    pauses: list[float]


async def watched(*answers: News | SeekError, source: Source | None = None) -> Watched:
    current = CurrentIdentity(Clock(NOW))
    await current.set(identity())
    source, keeper, pauses = source or Source(), KeeperDouble(), list[float]()
    source.answers += answers
    lists = HeldLists(source)

    async def sleep(seconds: float) -> None:
        if seconds:  # not before the first round
            pauses.append(seconds)

    one = Watcher(source, current, lists, keeper, chance=lambda: 0.5).task()
    supervisor = Supervisor([one], chance=lambda: 0.5, sleep=sleep)
    task = asyncio.create_task(supervisor.repeat(one))
    await asyncio.wait_for(source.done.wait(), PATIENCE_SECONDS)
    task.cancel()
    return Watched(source, keeper, current, lists, pauses)


async def shown(current: CurrentIdentity) -> tuple[bytes, ...]:
    """The lists in an answer of the Workload API."""
    revisions = current.revisions()
    _, lists = await anext(revisions)
    await revisions.aclose()  # type: ignore[attr-defined]  # a generator
    return lists


async def test_what_is_in_force_is_what_is_said_to_be() -> None:
    source = Source()
    older, newer = signed(4), signed(5)
    first = source.publish(4, older)
    done = await watched(
        News(15, Index(4, (first,))),
        News(15),
        News(1000, Index(5, (source.publish(5, newer),))),
        source=source,
    )
    assert source.asked == [0, 4, 4, 5]
    assert source.asked_about == [[APPLICATION]] * 4
    assert done.pauses == [15, 15, 1000]
    assert await shown(done.current) == (newer,)


async def test_a_list_that_cannot_be_had_is_not_acknowledged_and_delays_no_roots() -> None:
    other = REALM.roots + realm().roots
    source = Source()
    index = Index(4, (source.publish(4, b"no list"),))
    done = await watched(News(15, index, 3, other), News(15, index), source=source)
    assert source.asked == [0, 0, 0]
    assert done.current.value is not None
    assert done.current.value.roots == other
    assert await shown(done.current) == ()


async def test_a_list_that_is_too_large_for_spiffe_clients_is_left_out_and_the_log_states_it() -> None:
    source = Source()
    small, huge = signed(4), described(4, key="00:11", size=2 << 20)
    index = Index(4, (huge, source.publish(4, small)))
    with captured_lines() as lines:
        done = await watched(News(15, index), source=source)
    assert await shown(done.current) == (small,)
    assert [one.key for one in source.fetched] == ["ab:cd"], "what is not shown is not fetched"
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert (warning["issuer"], warning["bytes"]) == (APPLICATION, 2 << 20)
    assert source.asked == [0, 4], "it is known, and had when it is asked for"


async def test_whose_secret_was_revoked_starts_over_and_who_was_revoked_itself_does_not() -> None:
    done = await watched(Refused("SecretForgotten", "forgotten"))
    assert done.keeper.told == 1
    done = await watched(Refused("Revoked", "revoked"), Unreachable("Unreachable", "away"))
    assert done.keeper.told == 0


async def test_a_watch_that_breaks_does_not_cost_a_certificate() -> None:
    done = await watched(*[Unreachable("ConnectionEnded", "the proxy closed it")] * 3)
    assert done.keeper.told == 0


async def test_older_roots_of_a_renewal_are_not_acknowledged_as_the_newer_version() -> None:
    current = CurrentIdentity(Clock(NOW))
    await current.set(identity())
    newer = REALM.roots + realm().roots
    source = Source(*[News(15, None, 7, newer), News(15)] * 2)
    watcher = Watcher(source, current, HeldLists(source), KeeperDouble(), chance=lambda: 0.5)
    await watcher.round()
    await watcher.round()
    await current.set(identity(2))  # answered before the change of roots, and arrived after it
    await watcher.round()
    await watcher.round()
    assert source.asked_roots == [0, 7, 0, 7]
    assert current.value is not None
    assert current.value.roots == newer


async def test_a_cluster_agent_without_lists_is_asked_seldom() -> None:
    done = await watched(Refused("NotServed", "404"))
    assert done.pauses == [600]
    assert await shown(done.current) == ()
    assert done.keeper.told == 0


async def test_the_lists_wake_the_workload_api_and_stay_through_a_renewal() -> None:
    current = CurrentIdentity(Clock(NOW))
    one = identity()
    await current.set(one)
    seen = current.revisions()
    assert await anext(seen) == (one, ())
    await current.set_lists((signed(3),))
    assert (await anext(seen))[1]
    await current.set(identity(2))
    renewed, lists = await anext(seen)
    assert (renewed.version, len(lists)) == (2, 1)
    await current.close()
    with pytest.raises(StopAsyncIteration):
        await anext(seen)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"askAgainAfterSeconds": 1, "publications": []},
        {"askAgainAfterSeconds": 1, "publications": {"crl": {"version": 1, "content": [{"issuer": "a"}]}}},
        {"askAgainAfterSeconds": 1, "publications": {"crl": {"version": 1, "content": 7}}},
    ],
)
def test_news_that_cannot_be_read_are_not_taken(document: dict[str, object]) -> None:
    with pytest.raises(Untrustworthy):
        parse_news(document)


async def test_new_roots_are_in_force_at_once_with_the_blessing_of_before() -> None:
    other = REALM.roots + realm().roots
    done = await watched(News(15, None, 3, other), News(15), News(15))
    assert done.current.value is not None
    assert done.current.value.roots == other
    assert done.current.value.blessing == REALM.blessing


def test_roots_in_an_answer_are_read_or_the_answer_is_not_believed() -> None:
    def answer(content: object) -> dict[str, object]:
        return {"askAgainAfterSeconds": 15, "publications": {"roots": {"version": 7, "content": content}}}

    news = parse_news(answer(REALM.roots.to_json()))
    assert (news.index, news.roots_version, news.roots) == (None, 7, REALM.roots)
    for content in ([], [{"certificate": "", "pattern": "acme"}], None, [{"pattern": "acme"}]):
        with pytest.raises(Untrustworthy, match="the news cannot be read"):
            parse_news(answer(content))


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
        parse_news({"askAgainAfterSeconds": 15, "publications": {}, **changes})
