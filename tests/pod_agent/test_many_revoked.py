"""However much is revoked, and where: a replica's clients get its identity, and are not woken for others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from blessings import Name, RevocationList
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import (
    RunningPodAgent,
    eventually,
    mount,
    running_pod_agent,
    short_directory,
)
from tests.revoked import revoke_many
from tests.workload_api import x509_svids

# In one list, four times what a SPIFFE client reads of an answer: gRPC's own limit is 4 MiB.
MANY = 115_000
LONG = 15_000
WEB = "acme:prod:shop:web"
OTHER = "acme:prod:shop:other"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningClusterAgent, RunningPodAgent]]:
    with (
        running_cluster_agent(tmp_path_factory.mktemp("agent"), shortest_poll_seconds=1) as agent,
        short_directory() as directory,
    ):
        mount(directory, agent)
        with running_pod_agent(directory, agent.url) as running:
            running.wait_until_blessed()
            yield agent, running


@contextmanager
def answers(pod: RunningPodAgent) -> Iterator[list[Any]]:
    """The answers of one stream of the Workload API, as they come."""
    heard: list[Any] = []

    def listen(stream: Any) -> None:
        try:
            heard.extend(stream)  # one by one
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                heard.append(error)

    with grpc.insecure_channel(pod.workload_socket) as channel:
        stream = x509_svids(channel)
        thread = threading.Thread(target=listen, args=(stream,))
        thread.start()
        yield heard
        stream.cancel()
        thread.join()


def revoked(pod: RunningPodAgent, application: str) -> int:
    """How many certificates are on the lists of that application, by the agent protocol."""
    lists = pod.client().revocation_lists(Name.parse(application)).entries
    return sum(len(one.serials) for one in lists)


def test_a_revocation_elsewhere_wakes_no_client(pod: tuple[RunningClusterAgent, RunningPodAgent]) -> None:
    agent, running = pod
    with answers(running) as heard:
        eventually("the own list", lambda: heard and heard[-1].crl)
        before = len(heard)
        assert revoked(running, OTHER) == 0
        revoke_many(agent, OTHER, 10)
        eventually("the revocations elsewhere", lambda: revoked(running, OTHER) == 10)
        revoke_many(agent, WEB, 5)
        eventually("the own revocations", lambda: len(heard) > before)
        assert len(RevocationList.from_der(heard[before].crl[0]).serials) == 5
        assert len(heard) == before + 1


def test_each_of_100_streams_of_a_connection_gets_a_long_answer(
    pod: tuple[RunningClusterAgent, RunningPodAgent],
) -> None:
    agent, running = pod
    revoke_many(agent, WEB, LONG)
    with grpc.insecure_channel(running.workload_socket) as channel:

        def serials(stream: Any) -> int:
            return sum(len(RevocationList.from_der(der).serials) for der in next(stream).crl)

        eventually("the long answer", lambda: serials(x509_svids(channel)) >= LONG)
        streams = [x509_svids(channel) for _ in range(99)]
        assert {len(next(stream).crl[0]) > 30 * LONG for stream in streams} == {True}
        for stream in streams:
            stream.cancel()


def test_the_identity_is_delivered_whatever_is_revoked(
    pod: tuple[RunningClusterAgent, RunningPodAgent],
) -> None:
    agent, running = pod
    revoke_many(agent, WEB, MANY)
    eventually("a line of the log", lambda: "revocation list not in the Workload API" in running.log())
    with answers(running) as heard:
        eventually("an answer", lambda: heard)
        assert heard[0].svids[0].spiffe_id.endswith("/web-1")
        assert heard[0].ByteSize() < 1 << 20
        assert list(heard[0].crl) == []
    assert revoked(running, WEB) >= MANY
