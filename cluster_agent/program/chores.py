"""What the program does from time to time, beside answering: each chore is a call that is repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps

import structlog

from cluster_agent.audit.kinds import Retention
from cluster_agent.claims.claims import Claiming
from cluster_agent.errors import DataDirectoryError, Refusal, StoreError
from cluster_agent.revocation.gone_pods import ApiServerAway, GonePods
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.mounted_issuers import MountedIssuers, MountedMetrics
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.server.certificate import Serving
from cluster_agent.signing.room import SigningRoom, warn_of_ending
from cluster_agent.store import Store

RELOAD_SECONDS = 10
HOUSEKEEPING_SECONDS = 600
FOLLOW_SECONDS = 1
COUNTING_SECONDS = 30
# What another replica of the agent revoked is on our lists after this.
LISTS_SECONDS = 2
# Until Pods are listed and watched again, after a watch ended.
PODS_SECONDS = 5

_log = structlog.get_logger("cluster_agent")


async def repeat(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Does the chore every so many seconds, until it is cancelled; a round that fails ends no other."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        # What we did not think of must not end a chore for good, without a word.
        except Exception:  # noqa: BLE001 - it is logged, with where it came from
            _log.exception("a chore failed; its next round comes", chore=chore.__qualname__)


def waiting_out(call: Callable[[], Awaitable[None]], meanwhile: str) -> Callable[[], Awaitable[None]]:
    """The call, whose refusal is a line of the log, `meanwhile`, and no more: it is repeated."""

    @wraps(call)
    async def wait_out() -> None:
        try:
            await call()
        except Refusal as error:
            _log.error(meanwhile, reason=error.reason, error=str(error))

    return wait_out


def reloading(serving: Serving) -> Callable[[], Awaitable[None]]:
    """The serving certificate, read again when its files changed."""

    async def reload() -> None:
        try:
            if serving.reload():
                _log.info("serving certificate read again")
        except DataDirectoryError as error:
            _log.error("serving certificate not read, the old one stays", error=str(error))

    return reload


def following_others(claiming: Claiming) -> Callable[[], Awaitable[None]]:
    """The claim and the registry, as other replicas of the agent wrote them."""

    async def look() -> None:
        try:
            await claiming.look()
        except (Refusal, StoreError) as error:
            _log.error("claim not read", error=str(error))
        try:
            await claiming.agent.read_registry()
        except (Refusal, StoreError) as error:
            _log.error("registry not read", error=str(error))

    return look


def housekeeping(
    store: Store,
    room: SigningRoom,
    lists: CurrentLists,
    retention: Retention,
    now: Callable[[], datetime],
) -> Callable[[], Awaitable[None]]:
    """What has ended is dropped, by the one replica that leads."""

    async def drop_expired() -> None:
        warn_of_ending(room, now())
        try:
            if await store.lead():
                _log.debug("expired issuances dropped", count=await store.issuances.drop_expired(now()))
                await store.acknowledgements.drop_gone(now())
                await lists.drop_expired()
                pruned = await store.prune_audit(retention, now())
                _log.debug("audit records dropped", count=pruned)
        except Refusal as error:
            _log.error("housekeeping waits", reason=error.reason, error=str(error))

    return drop_expired


def keeping_roots(store: Store, keeper: RootKeeper) -> Callable[[], Awaitable[None]]:
    """The identity roots: looked at by every replica, moved on by the one that leads."""

    async def keep() -> None:
        try:
            await keeper.look()
            if await store.lead():
                await keeper.lead()
        except (Refusal, DataDirectoryError, StoreError) as error:
            _log.error("identity roots not kept", error=str(error))

    return keep


def following_mounted(
    issuers: MountedIssuers, keeper: RootKeeper, metrics: MountedMetrics
) -> Callable[[], Awaitable[None]]:
    """The issuing certificate that somebody else keeps in a mounted directory."""
    pending = False

    async def follow() -> None:
        nonlocal pending
        try:
            pending = await issuers.look(keeper.state, metrics) or pending
            if pending:
                await keeper.take_keys()
                pending = False
        except (Refusal, DataDirectoryError, StoreError) as error:
            _log.error("mounted issuer not followed yet", error=str(error))

    return follow


def following_pods(store: Store, gone: GonePods) -> Callable[[], Awaitable[None]]:
    """Pods that are deleted, watched by the one replica that leads."""

    async def follow() -> None:
        try:
            if await store.lead():
                await gone.follow()
        except (ApiServerAway, Refusal) as error:
            _log.warning("Pods not watched; nothing is revoked for it", error=str(error))

    return follow
