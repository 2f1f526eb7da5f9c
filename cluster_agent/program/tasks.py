"""Rounds of background tasks that are more than a call of one part, and what all tasks have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import structlog

from cluster_agent.audit.kinds import Retention
from cluster_agent.errors import ClusterAgentError
from cluster_agent.kubernetes.pods import ApiServerAway
from cluster_agent.monitoring.metrics import FleetMetrics
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.mounted_issuers import MountedIssuers
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.server.certificate import Serving
from cluster_agent.signing.room import SigningRoom, warn_of_ending
from cluster_agent.store import Store
from service.supervisor import BackOff, Task, described

# So long a replica serves with a claim, a registry or revocation lists that it cannot follow.
STALE_SECONDS = 300.0
_SHORTEST_LAST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger("cluster_agent")

Round = Callable[[], Awaitable[None]]


def every(seconds: float, name: str, run: Round, failure: str) -> Task:
    """A task that is repeated every so many seconds, first after as many: what the program needs before it
    serves, it has done by then."""
    return Task(
        name,
        run,
        period=seconds,
        failure=failure,
        expected=(ClusterAgentError, ApiServerAway),
        at_start=False,
        back_off=BackOff(1.0, max(seconds, _SHORTEST_LAST_PAUSE_SECONDS)),
    )


def essential(seconds: float, name: str, run: Round, failure: str) -> Task:
    """A task without which this replica would serve what no longer holds. A store that is away does not turn
    `/readyz`: calls are refused with that reason, and every replica would leave the Service."""
    return replace(every(seconds, name, run, failure), unready_after_seconds=STALE_SECONDS)


def led(store: Store, run: Round) -> Round:
    """The round, at the one replica of the agent that leads."""

    async def run_if_leading() -> None:
        if await store.lead():
            await run()

    return run_if_leading


def reloading(serving: Serving) -> Round:
    """The serving certificate, read again when its files changed."""

    async def reload() -> None:
        if serving.reload():
            _log.info("serving certificate read again")

    return reload


def housekeeping(
    store: Store, room: SigningRoom, lists: CurrentLists, retention: Retention, now: Callable[[], datetime]
) -> Round:
    """What has ended is dropped, by the replica that leads."""

    async def drop_expired() -> None:
        _log.debug("expired issuances dropped", count=await store.issuances.drop_expired(now()))
        await store.acknowledgements.drop_gone(now())
        await lists.drop_expired()
        _log.debug("audit records dropped", count=await store.prune_audit(retention, now()))

    async def keep_house() -> None:
        warn_of_ending(room, now())
        await led(store, drop_expired)()

    return keep_house


def counting_fleet(store: Store, metrics: FleetMetrics, now: Callable[[], datetime]) -> Round:
    """How many replicas live, counted by the one replica of the agent that leads."""

    async def count() -> None:
        try:
            metrics.show(await store.fleet.lives(now()) if await store.lead() else None)
        except Exception:
            # No figure is better than one that is out of date.
            metrics.show(None)
            raise

    return count


def keeping_roots(store: Store, keeper: RootKeeper) -> Round:
    """The identity roots: looked at by every replica, moved on by the one that leads."""

    async def keep() -> None:
        await keeper.look()
        await led(store, keeper.lead)()

    return keep


def following_mounted(issuers: MountedIssuers, keeper: RootKeeper, note: Callable[[str], None]) -> Round:
    """The issuing certificate that somebody else keeps in a mounted directory."""
    pending = False

    async def follow() -> None:
        nonlocal pending
        pending = await issuers.look(keeper.state, note) or pending
        if pending:
            await keeper.take_keys()
            pending = False

    return follow


async def attempt(run: Round, failure: str) -> None:
    """One round outside of the supervisor, whose failure is a line of the log."""
    try:
        await run()
    except ClusterAgentError as error:
        _log.error(failure, error=described(error))
