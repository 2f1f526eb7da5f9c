"""The pod agent's program: keeps an identity and serves it, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from datetime import UTC, datetime
from functools import partial

from pod_agent import sole_use, watchdog
from pod_agent.agent_protocol import AgentProtocol
from pod_agent.careful_seeker import CarefulSeeker
from pod_agent.envoy.discovery import SecretDiscovery
from pod_agent.errors import PodAgentError
from pod_agent.grpc.server import GrpcServer
from pod_agent.health import health_handler
from pod_agent.http.connection import HttpConnection
from pod_agent.identity import CurrentIdentity
from pod_agent.jwt_svids import JwtSvids
from pod_agent.keeper import Keeper
from pod_agent.listener import BoundedListener
from pod_agent.metrics import Metrics
from pod_agent.revocation_lists import HeldLists
from pod_agent.seeker import ClusterAgentSeeker
from pod_agent.settings import Settings, ignored, read_settings
from pod_agent.sockets import listen_unix, remove_socket
from pod_agent.watcher import Watcher
from pod_agent.workload.jwt import JwtProfile
from pod_agent.workload.x509 import X509Profile
from service import logs
from service.bounded_log import BoundedLog
from service.errors import SettingsError
from service.event_loop import event_loop
from service.listening import listen, stop_on_signal
from service.log import get_logger
from service.supervisor import Supervisor
from service.version import print_version_if_asked

_SHUTDOWN_SECONDS = 1
# In all far fewer than the 1024 descriptors that a container has at least: a renewal always finds one.
_MOST_CONNECTIONS = 100

_log = get_logger("pod_agent")


def main() -> None:
    """Entry point of the `pod-agent` program. Exits with 2 for a wrong setting."""
    print_version_if_asked("pod-agent", sys.argv[1:])
    try:
        settings = read_settings(sys.argv[1:], os.environ)
        logs.configure(settings.log_level)
        if variables := ignored(os.environ):
            _log.warning("variables ignored", reason=variables)
        with asyncio.Runner(loop_factory=lambda: event_loop(asyncio.new_event_loop)) as runner:
            runner.run(_run(settings))
    except (PodAgentError, SettingsError) as error:
        logs.complain("pod-agent", error)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


async def _run(settings: Settings) -> None:
    current = CurrentIdentity(_now)
    metrics = Metrics(current, _now)
    source, chance = ClusterAgentSeeker(settings, _now, metrics.beginning), random.SystemRandom().random
    seeker = CarefulSeeker(source, now=_now, clock=time.monotonic, chance=chance)
    keeper = Keeper(seeker, current, metrics, now=_now, chance=chance)
    lists = HeldLists(source)
    watcher = Watcher(source, current, lists, keeper, chance=chance)
    tasks = [keeper.task(), keeper.expiry_task(), watcher.task(), watchdog.task()]
    supervisor = Supervisor(tasks, chance=chance)
    # Before the sockets of another pod agent would be removed.
    sole_use.take(settings.socket_directory, "--socket-directory")
    if settings.files is not None:
        from pod_agent.files import IdentityFiles  # few Pods have files, and each would pay for it

        supervisor.add(IdentityFiles(settings.files, current, _now).task())
    bounded_log = BoundedLog(_log)
    jwt = JwtProfile(current, JwtSvids(source, now=_now, clock=time.monotonic))
    envoy = SecretDiscovery(current, metrics.rejected)
    methods = X509Profile(current).methods() | jwt.methods() | envoy.methods()
    agent_path = settings.socket_directory / "agent.sock"
    workload_path = settings.socket_directory / "workload.sock"
    health_path = settings.socket_directory / "health.sock"
    health = partial(HttpConnection, health_handler(current, metrics, supervisor), bounded_log)
    listeners = {
        "agent": BoundedListener(
            "agent-connections",
            listen_unix(agent_path),
            _MOST_CONNECTIONS,
            partial(HttpConnection, AgentProtocol(current, lists).handler(), bounded_log),
        ),
        "health": BoundedListener(
            "health-connections",
            # Only for our own probe, which an application's connections must not keep out.
            listen_unix(health_path, 0o600),
            _MOST_CONNECTIONS,
            health,
            brief=True,
        ),
        "workload": BoundedListener(
            "workload-connections",
            listen_unix(workload_path),
            _MOST_CONNECTIONS,
            GrpcServer(methods).connection,
        ),
    }
    if settings.health_port is not None:
        port = listen(settings.health_host, settings.health_port, "--health-host, --health-port")
        listeners["health-port"] = BoundedListener(
            "health-port-connections", port, _MOST_CONNECTIONS, health, brief=True
        )
    supervisor.add(*(one.acceptor.task for one in listeners.values()))
    metrics.count_refused(listeners)
    metrics.beginning.done("started")
    _log.info("started", sockets=str(settings.socket_directory), clusterAgent=settings.cluster_agent_url)

    stop = asyncio.Event()
    stop_on_signal(stop)
    async with supervisor.running():
        await stop.wait()
    await current.close()
    for one in listeners.values():
        await one.stop()
    await asyncio.gather(*(one.end_all(_SHUTDOWN_SECONDS) for one in listeners.values()))
    for path in (agent_path, workload_path, health_path):
        remove_socket(path)
    _log.info("stopped")


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
