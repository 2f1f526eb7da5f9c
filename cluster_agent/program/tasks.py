"""The background tasks that consist of more than one call, and what all tasks have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import structlog

from blessings import Principal
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.audit import notes
from cluster_agent.audit.kinds import Retention
from cluster_agent.audit.refusals import Refusals
from cluster_agent.errors import ClusterAgentError
from cluster_agent.kubernetes.watched import ApiServerAway
from cluster_agent.monitoring.metrics import FleetMetrics
from cluster_agent.program.steady_clock import SteadyClock
from cluster_agent.program.witness import Witness
from cluster_agent.registry.registry import Registry
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.mounted_issuers import MountedIssuers
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.server.certificate import Serving
from cluster_agent.signing.room import SigningRoom, warn_of_ending
from cluster_agent.store import Store
from service.supervisor import BackOff, Task, described

# How long a replica may serve with a claim or revocation lists that it cannot update.
STALE_SECONDS = 300.0
_SHORTEST_LAST_PAUSE_SECONDS = 5.0

_log = structlog.get_logger("cluster_agent")

# It may return the seconds until the next one.
Round = Callable[[], Awaitable[float | None]]


def every(seconds: float, name: str, run: Round, failure: str) -> Task:
    """A task with that period. Its first round is after one period, because the program does the same work
    before it serves."""
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
    """A task without which this replica would serve outdated data.

    An unavailable store does not turn `/readyz`: calls are refused with that reason, and otherwise every
    replica would leave the Service.
    """
    return replace(every(seconds, name, run, failure), unready_after_seconds=STALE_SECONDS)


def led(store: Store, run: Round, rest: Callable[[], None] = lambda: None) -> Round:
    """The round, run only by the replica of the agent that leads; the others call `rest`."""

    async def run_if_leading() -> float | None:
        if await store.lead():
            return await run()
        rest()
        return None

    return run_if_leading


def reloading(serving: Serving) -> Round:
    """Reads the serving certificate again when its files changed."""

    async def reload() -> None:
        if serving.reload():
            _log.info("serving certificate read again")

    return reload


def housekeeping(
    store: Store,
    room: SigningRoom,
    lists: CurrentLists,
    retention: Retention,
    now: Callable[[], datetime],
    clock: SteadyClock,
) -> Round:
    """Removes expired records, in the replica that leads, unless its clock has just jumped."""

    async def drop_expired() -> None:
        if not clock.is_steady():
            return
        _log.debug("expired issuances dropped", count=await store.issuances.drop_expired(now()))
        _log.debug("unused entitlements dropped", count=await store.entitlements.drop_unused(now()))
        await store.fleet.drop_gone(now())
        await store.pod_requests.drop_old(now())
        await lists.drop_expired()
        _log.debug("audit records dropped", count=await store.prune_audit(retention, now()))

    async def keep_house() -> None:
        warn_of_ending(room, now())
        await led(store, drop_expired)()

    return keep_house


def keeping_keys(keys: KeySource) -> Task:
    """Reads the token issuer's keys at the start, without which no token can be judged, and again every five
    minutes, so that a key that the issuer withdrew is no longer accepted."""
    task = every(300, "token-keys", keys.refresh, "the token issuer's keys not read")
    return replace(task, at_start=True, needed=True)


def inspecting(store: Store, registry: Registry) -> Task:
    """Looks through the registered names at the start, in the replica that leads, and again each day."""
    name, failure = "registered-names", "registered names not inspected"
    return replace(every(86_400, name, led(store, registry.inspect), failure), at_start=True)


def counting_fleet(store: Store, metrics: FleetMetrics, now: Callable[[], datetime]) -> Round:
    """Counts the live replicas, in the replica of the agent that leads."""

    async def count() -> None:
        try:
            metrics.show(await store.fleet.lives(now()) if await store.lead() else None)
        except Exception:
            # An outdated number would be worse than none.
            metrics.show(None)
            raise

    return count


def keeping_roots(store: Store, keeper: RootKeeper, clock: SteadyClock) -> Round:
    """Follows the identity roots in every replica, and takes their steps in the one that leads, unless its
    clock has just jumped."""

    async def keep() -> None:
        await keeper.look()
        if clock.is_steady():
            await led(store, keeper.lead)()

    return keep


def following_mounted(issuers: MountedIssuers, keeper: RootKeeper, note: Callable[[str], None]) -> Round:
    """Follows the issuing certificate that another program maintains in a mounted directory."""
    pending = False

    async def follow() -> None:
        nonlocal pending
        pending = await issuers.look(keeper.state, note) or pending
        if pending:
            await keeper.take_keys()
            pending = False

    return follow


async def write_refusals(store: Store, refusals: Refusals, *, all_of_them: bool = False) -> None:
    """Writes the refusals that are due; those that cannot be written are counted with the next. May raise
    Unavailable."""
    records = refusals.take(all_of_them=all_of_them)
    if not records:
        return
    try:
        await store.audit(*records)
    except Exception:
        refusals.put_back(records)
        raise


async def note_heads(store: Store, issuing: Principal, witness: Witness | None) -> None:
    """Notes the heads of this process's chains, signed with `issuing`, in the log, which is kept elsewhere,
    and for `witness`; then looks whether the database still has them. May raise Unavailable,
    DataDirectoryError."""
    lines = [one.line(issuing) for one in await store.audit_notes()]
    for line in lines:
        _log.info(notes.EVENT, **line)
    if witness is not None and lines:
        await asyncio.to_thread(witness.note, lines)
    await store.check_audit()


async def attempt(run: Round, failure: str) -> None:
    """Runs one round outside of the supervisor; a failure is only logged."""
    try:
        await run()
    except ClusterAgentError as error:
        _log.error(failure, error=described(error))
