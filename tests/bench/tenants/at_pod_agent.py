"""Hostile clients at a pod agent: those that reach its port, and a container of its Pod. The normal one is
the application beside it, and the kubelet that asks whether it is alive."""

from __future__ import annotations

import select
import socket
from pathlib import Path

import httpx

from agent_client import AgentClient
from tests.bench.tenants.measure import Hostility, Outcome, compare
from tests.cluster_agents import running_cluster_agent, with_environment
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory

# As a kubelet's liveness probe: three failures in a row count.
_KUBELET_WAITS, _KUBELET_TRIES = 2.0, 3
_CONNECTIONS, _THREADS = 1074, 6


def held_sockets(directory: Path, seconds: float) -> Outcome:
    """A thousand idle connections to its health port, and as many to the Workload API's, taken again."""
    with (
        running_cluster_agent(directory, start=with_environment()) as agent,
        short_directory() as sockets,
    ):
        mount(sockets, agent)
        with running_pod_agent(sockets, agent.url) as pod_agent:
            pod_agent.wait_until_blessed()

            def use(_number: int) -> None:
                with AgentClient(pod_agent.agent_socket) as client:
                    client.sign(b"hello")
                _ask_as_kubelet(f"{pod_agent.health_url}/healthz")

            hostility = Hostility()
            for number in range(_THREADS):
                hostility.repeat(_Idle(pod_agent, number).take_again)
            return compare("B.9 held sockets", use, hostility, seconds, begun=5)


def _ask_as_kubelet(url: str) -> None:
    for left in reversed(range(_KUBELET_TRIES)):
        try:
            httpx.get(url, timeout=_KUBELET_WAITS).raise_for_status()
        except httpx.TransportError:
            if not left:
                raise
        else:
            return


class _Idle:
    """A part of the connections, each opened again when it is closed."""

    def __init__(self, pod_agent: RunningPodAgent, number: int) -> None:
        self._health = ("127.0.0.1", int(pod_agent.health_url.rsplit(":", 1)[1]))
        self._workload = pod_agent.workload_socket.removeprefix("unix://")
        self._source = f"127.0.0.{2 + number}"
        self._over_tcp = number % 2 == 0
        self._open: list[socket.socket] = []

    def take_again(self) -> None:
        if len(self._open) < _CONNECTIONS * 2 // _THREADS:
            self._open.append(self._connect())
            return
        poll = select.poll()
        by_number = {one.fileno(): one for one in self._open}
        for number in by_number:
            poll.register(number, select.POLLIN | select.POLLHUP)
        for number, _ in poll.poll(500):
            self._open.remove(by_number[number])
            by_number[number].close()

    def _connect(self) -> socket.socket:
        if self._over_tcp:
            return socket.create_connection(self._health, 10, source_address=(self._source, 0))
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(10)
        one.connect(self._workload)
        return one
