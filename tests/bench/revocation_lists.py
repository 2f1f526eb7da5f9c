"""Memory while long revocation lists are read slowly: `python -m tests.bench.revocation_lists`.

A cluster agent with 100 000 revoked certificates of one application, and 60 clients, each from an address of
its own, that ask for its list and do not read. Then a pod agent of an application with 10 000 revoked
certificates, and 1 000 streams of the Workload API that are not read, of which it serves as many as it serves
at all. Each figure stands beside the memory of the same process before the readers came.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.cluster_agent.server.connections import nameless
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory
from tests.revoked import revoke_many
from tests.waiting import wait_for
from tests.workload_api import x509_svids

APPLICATION = "acme:prod:shop:web"
STREAMS_OF_CHANNEL = 100
SETTLING_SECONDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.revocation_lists")
    parser.add_argument("--revoked", type=int, default=100_000)
    parser.add_argument("--readers", type=int, default=60)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1000)
    asked = parser.parse_args()
    print(f"{'MiB resident':<66}{'before':>8}{'with':>8}{'more':>8}")
    for path in (f"/v1/crl/{APPLICATION}", "/v1/crl"):
        cluster_agent(path, asked.revoked, asked.readers)
    pod_agent(asked.entries, asked.streams)


def cluster_agent(path: str, revoked: int, readers: int) -> None:
    with prepared(revoked) as (agent, stack):
        request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()

        def ask() -> None:
            for number in range(readers):
                stack.enter_context(nameless(agent, f"127.0.1.{number + 1}")).sendall(request)

        report(f"cluster agent, {revoked} revoked, {readers} readers of {path}", agent.process.pid, ask)


def pod_agent(entries: int, streams: int) -> None:
    with prepared(entries) as (agent, stack):
        directory = stack.enter_context(short_directory())
        mount(directory, agent)
        pod = stack.enter_context(running_pod_agent(directory, agent.url))
        pod.wait_until_blessed()
        wait_for("the list", lambda: answer_has_list(pod))
        calls: list[Any] = []

        def open_streams() -> None:
            for number in range(0, streams, STREAMS_OF_CHANNEL):
                # Else grpc would share one connection between the channels.
                options = [("grpc.use_local_subchannel_pool", 1), ("vanadium.number", number)]
                channel = stack.enter_context(grpc.insecure_channel(pod.workload_socket, options))
                calls.extend(x509_svids(channel) for _ in range(min(STREAMS_OF_CHANNEL, streams - number)))

        report(f"pod agent, {entries} revoked, {streams} streams", pod.process.pid, open_streams)
        refused = Counter(one.code().name for one in calls if one.done())
        print(f"  of these streams were refused: {dict(refused)}")


@contextmanager
def prepared(revoked: int) -> Iterator[tuple[RunningClusterAgent, ExitStack]]:
    """A cluster agent with so many revoked certificates on the application's list."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = stack.enter_context(running_cluster_agent(place, shortest_poll_seconds=1))
        with short_directory() as directory:
            mount(directory, agent, "first")
            with running_pod_agent(directory, agent.url) as first:
                first.wait_until_blessed()
        revoke_many(agent, APPLICATION, revoked)
        with agent.client(None, None) as client:
            path = f"/v1/crl/{APPLICATION}"
            wait_for("the list", lambda: len(client.get(path).content) > 30 * revoked)
        yield agent, stack


def answer_has_list(pod: RunningPodAgent) -> bool:
    with grpc.insecure_channel(pod.workload_socket) as channel:
        return bool(next(iter(x509_svids(channel, timeout=60))).crl)


def report(what: str, process: int, act: Callable[[], None]) -> None:
    before = resident(process)
    act()
    most, until = 0.0, time.monotonic() + SETTLING_SECONDS
    while time.monotonic() < until:
        most = max(most, resident(process))
        time.sleep(0.2)
    print(f"{what:<66}{before:>8.0f}{most:>8.0f}{most - before:>8.0f}", flush=True)


def resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
