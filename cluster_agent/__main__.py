"""The program: settings in, servers up, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import structlog
import uvicorn
import uvloop
from fastapi import APIRouter
from prometheus_client import make_asgi_app
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from cluster_agent.api import create_app
from cluster_agent.attestation import Attestor
from cluster_agent.attestation.bounded import BoundedAttestor
from cluster_agent.attestation.jwks import JwksAttestor, KeySource
from cluster_agent.attestation.token_review import TokenReviewAttestor
from cluster_agent.audit.chores import (
    HEADS_SECONDS,
    REFUSALS_SECONDS,
    noting_heads,
    write_refusals,
    writing_refusals,
)
from cluster_agent.audit.refusals import Refusals
from cluster_agent.authority_metrics import AuthorityMetrics
from cluster_agent.callers import Administrators
from cluster_agent.claiming import Claiming
from cluster_agent.connection_limits import ConnectionLimits
from cluster_agent.data_directory import (
    make_claimable_room,
    make_directory,
    make_signing_room,
    mounted_room,
    read_claimable_room,
    read_signing_room,
)
from cluster_agent.errors import (
    ClusterAgentError,
    DataDirectoryError,
    NotAuthenticated,
    Refusal,
    SettingsError,
    StoreError,
)
from cluster_agent.fleet_metrics import FLEET_SECONDS, FleetMetrics, counting_fleet
from cluster_agent.issuing import ClusterAgent, Tripwire
from cluster_agent.kubernetes_api import KubernetesApi
from cluster_agent.kubernetes_pods import KubernetesPods
from cluster_agent.list_overlap import warn_of_overlap
from cluster_agent.metrics import Metrics
from cluster_agent.mounted_keeping import MountedIssuers, MountedMetrics
from cluster_agent.pod_watching import ApiServerAway, GonePods
from cluster_agent.publication_metrics import watch_publications
from cluster_agent.publications import Publications
from cluster_agent.rate_limits import RateLimits
from cluster_agent.revocation_lists import CurrentLists
from cluster_agent.root_keeping import RootKeeper
from cluster_agent.root_keys import RootKeys
from cluster_agent.routes import routers
from cluster_agent.servers import DRAIN_SECONDS, AgentServer, listen, serve_until_signal
from cluster_agent.serving import Serving
from cluster_agent.settings import Settings, read_settings
from cluster_agent.signing import ROOT_LIFETIME, SigningRoom, warn_of_ending
from cluster_agent.store import Store, open_store
from cluster_agent.tracing_settings import traces_are_wanted
from cluster_agent.tripwire import NamespaceEvents

if TYPE_CHECKING:
    from cluster_agent.tracing import Tracing

RELOAD_SECONDS = 10
HOUSEKEEPING_SECONDS = 600
FOLLOW_SECONDS = 1
COUNTING_SECONDS = 30
# What another replica of the agent revoked is on our lists after this.
LISTS_SECONDS = 2
# Until Pods are listed and watched again, after a watch ended.
PODS_SECONDS = 5
KUBERNETES_TIMEOUT_SECONDS = 5
HANDSHAKE = "handshake"  # stands for the path of a refusal before any request

_log = structlog.get_logger("cluster_agent")


def main() -> None:
    """Entry point of the `cluster-agent` program. Exits with 2 for a wrong setting, 1 for another failure."""
    try:
        settings = read_settings(sys.argv[1:])
    except SettingsError as error:
        sys.exit(_complaint(2, error))
    _configure_logging(settings.log_level)
    try:
        # asyncio itself spends twice the time on a TLS connection.
        uvloop.run(_run(settings))
    except ClusterAgentError as error:
        sys.exit(_complaint(1, error))


async def _run(settings: Settings) -> None:
    metrics = Metrics()
    tracing = _tracing(metrics)
    issuers = _mounted_issuers(settings)
    room = _signing_room(settings, issuers)
    serving = Serving(settings.serving_directory, room.identity_roots + room.bootstrap_roots)
    if settings.database_url is None:
        make_directory(settings.data_directory)
    store = await asyncio.to_thread(open_store, settings.store_url)
    refusals = Refusals(time.monotonic, _now)
    try:
        await store.claim_authority(room.lasting_fingerprints)
        store.audit_with(lambda: room.issuing)
        async with _attestation(settings) as (attestor, tripwires, pods):
            bounded = BoundedAttestor(
                attestor,
                at_a_time=settings.token_reviews_at_a_time,
                most_waiting=8 * settings.token_reviews_at_a_time,
            )
            _watch(metrics, store, bounded, room)
            agent = ClusterAgent(
                prefix=settings.prefix,
                administrators=Administrators(
                    settings.access_list, room.issuing.public_key, settings.secret_keepers_list
                ),
                ttl=settings.ttl,
                room=room,
                store=store,
                attestor=bounded,
                tripwires=(metrics, *tripwires),
                now=_now,
                watch=metrics.stages if tracing is None else tracing.issuances(metrics.stages),
            )
            claiming = Claiming(agent, settings.claim_code_file, serving.trust)
            warn_of_overlap(settings.access_list, settings.secret_keepers_list)
            await claiming.start()
            await agent.read_registry()
            _log.info(
                "starting",
                prefix=settings.name_prefix,
                attestor=attestor.kind,
                host=settings.host,
                port=settings.port,
                root=room.kind,
                keys=room.fingerprints,
            )
            keeper = _root_keeper(settings, room, store, serving, issuers)
            if keeper is not None:
                await keeper.start()
            following = None
            if issuers is not None and keeper is not None:
                following = _mounted(issuers, keeper, MountedMetrics(metrics.registry))
                await following()
            lists = CurrentLists(store, room, timedelta(seconds=settings.crl_seconds), _now)
            await lists.refresh()
            kept = (lists,) if keeper is None else (lists, keeper)
            publications = Publications(store, kept, settings.pace, _now)
            watch_publications(metrics.registry, publications)
            routes = routers(claiming, lists, publications, keeper)
            chores = [
                asyncio.create_task(_repeat(settings.root_margin_seconds / 12, _roots(store, keeper))),
                asyncio.create_task(_repeat(COUNTING_SECONDS, _counting(publications))),
                asyncio.create_task(_repeat(RELOAD_SECONDS, _reload(serving))),
                asyncio.create_task(
                    _repeat(HOUSEKEEPING_SECONDS, _housekeeping(store, room, lists, settings))
                ),
                asyncio.create_task(_repeat(FOLLOW_SECONDS, _follow_others(claiming))),
                asyncio.create_task(_repeat(LISTS_SECONDS, _listing(lists))),
                asyncio.create_task(_repeat(REFUSALS_SECONDS, writing_refusals(store, refusals))),
                asyncio.create_task(
                    _repeat(FLEET_SECONDS, counting_fleet(store, FleetMetrics(metrics.registry), _now))
                ),
                asyncio.create_task(_repeat(HEADS_SECONDS, noting_heads(store, _now))),
            ]
            if following is not None:
                chores.append(asyncio.create_task(_repeat(RELOAD_SECONDS, following)))
            if pods is not None:
                gone = GonePods(store, pods, lists.refresh, _now)
                chores += [
                    asyncio.create_task(_repeat(PODS_SECONDS, _following(store, gone))),
                    asyncio.create_task(_repeat(LISTS_SECONDS, _revoking(gone))),
                ]
            try:
                await _serve(settings, claiming, serving, metrics, tracing, routes, refusals)
            finally:
                await write_refusals(store, refusals, all_of_them=True)
                await noting_heads(store, _now)()
                for chore in chores:
                    chore.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
    finally:
        await store.close()
        if tracing is not None:
            await tracing.close()
    _log.info("stopped")


def _tracing(metrics: Metrics) -> Tracing | None:
    """None unless traces are asked for; their libraries are neither read nor needed then."""
    if not traces_are_wanted(os.environ):
        return None
    try:
        from cluster_agent.tracing import Tracing
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"traces are asked for (OTEL_EXPORTER_OTLP_ENDPOINT), and {error.name} is not installed: install "
            "vanadium-cluster[cluster-agent,tracing], or set OTEL_SDK_DISABLED=true"
        ) from error
    return Tracing(metrics.registry)


def _mounted_issuers(settings: Settings) -> MountedIssuers | None:
    if settings.issuing_directory is None:
        return None
    return MountedIssuers.open(settings.issuing_directory, settings.prefix, settings.ttl.default, _now)


def _root_keeper(
    settings: Settings, room: SigningRoom, store: Store, serving: Serving, issuers: MountedIssuers | None
) -> RootKeeper | None:
    """None where the root is an administrator's, who claims with it."""
    if room.claimable:
        return None
    makes_keys = settings.keys_directory is None
    directory = settings.data_directory if settings.keys_directory is None else settings.keys_directory
    return RootKeeper(
        room=room,
        records=store.root_successions,
        fleet=store.acknowledgements,
        keys=issuers or RootKeys(directory, settings.prefix.root, ROOT_LIFETIME, makes_keys=makes_keys),
        schedule=settings.root_schedule,
        trust=serving.trust,
        now=_now,
    )


def _watch(metrics: Metrics, store: Store, attestor: BoundedAttestor, room: SigningRoom) -> None:
    for name in store.queues:
        metrics.watch_queue(name, lambda name=name: store.queues[name])  # type: ignore[misc]
    metrics.watch_queue("attestation", lambda: attestor.waiting)
    AuthorityMetrics(metrics.registry, room, _now)


def _signing_room(settings: Settings, issuers: MountedIssuers | None) -> SigningRoom:
    if issuers is not None:
        makes_keys = settings.keys_directory is None
        directory = settings.keys_directory or settings.data_directory
        return mounted_room(directory, issuers.identity, makes_keys=makes_keys, now=_now())
    if settings.claim == "required":
        if settings.keys_directory is not None:
            return read_claimable_room(settings.keys_directory)
        return make_claimable_room(settings.data_directory, now=_now())
    if settings.keys_directory is not None:
        return read_signing_room(settings.keys_directory, settings.prefix.root)
    return make_signing_room(settings.data_directory, settings.prefix.root, now=_now())


async def _serve(
    settings: Settings,
    claiming: Claiming,
    serving: Serving,
    metrics: Metrics,
    tracing: Tracing | None,
    routes: Sequence[APIRouter],
    refusals: Refusals,
) -> None:
    common: dict[str, Any] = {
        "lifespan": "off",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        # Nobody stands before us: an address is the connection's, whatever a header says.
        "proxy_headers": False,
        "timeout_graceful_shutdown": DRAIN_SECONDS,
    }
    # Of its own for each port: who fills the one leaves room at the other.
    limits = _connection_limits(settings, settings.nameless_share)
    health_limits = _connection_limits(settings, 1)  # nobody has a name there
    metrics.watch_connections(limits)
    agent = claiming.agent
    app = create_app(agent, serving, metrics, RateLimits(settings.rates, time.monotonic), refusals)
    for router in routes:
        app.include_router(router)

    def untrusted(address: str, why: str) -> None:
        refusal = NotAuthenticated("HandshakeRefused", why)
        metrics.refused(HANDSHAKE, refusal)
        refusals.add(HANDSHAKE, refusal, address=address)

    served = app if tracing is None else tracing.requests(app)
    api = AgentServer(
        uvicorn.Config(served, **common), serving.context, limits, metrics.turned_away, untrusted
    )
    leaving = asyncio.Event()
    health = AgentServer(
        uvicorn.Config(_health_app(api, claiming, metrics, leaving), **common),
        None,
        health_limits,
        metrics.turned_away,
        untrusted,
    )
    await serve_until_signal(
        [
            (api, listen(settings.host, settings.port)),
            (health, listen(settings.host, settings.health_port)),
        ],
        leaving=leaving,
        delay_seconds=settings.shutdown_delay_seconds,
    )


def _connection_limits(settings: Settings, nameless_share: float) -> ConnectionLimits:
    return ConnectionLimits(
        settings.max_connections,
        settings.max_connections_per_address,
        handshake_seconds=settings.handshake_seconds,
        request_seconds=settings.request_seconds,
        nameless_share=nameless_share,
    )


def _health_app(api: AgentServer, claiming: Claiming, metrics: Metrics, leaving: asyncio.Event) -> Starlette:
    async def healthz(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "root": claiming.agent.room.kind})

    async def readyz(_request: Request) -> JSONResponse:
        serves = api.started and not leaving.is_set()
        if serves and (reason := claiming.waits):
            return JSONResponse({"ready": False, "reason": reason}, 503)
        return JSONResponse({"ready": serves}, 200 if serves else 503)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Mount("/metrics", make_asgi_app(metrics.registry)),
        ]
    )


@asynccontextmanager
async def _attestation(
    settings: Settings,
) -> AsyncIterator[tuple[Attestor, list[Tripwire], KubernetesPods | None]]:
    """The attestor that the settings name, who is told of a misused credential besides the metrics, and who
    knows of deleted Pods, if somebody does."""
    if settings.attestor == "jwks":
        async with httpx.AsyncClient(timeout=KUBERNETES_TIMEOUT_SECONDS) as client:
            keys = KeySource(settings.jwks_location, client, _now)
            yield (
                JwksAttestor(keys, issuer=settings.jwks_issuer, audience=settings.token_audience, now=_now),
                [],
                None,
            )
        return
    try:
        trust = ssl.create_default_context(cafile=str(settings.kubernetes_ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            "--kubernetes-ca-file (VANADIUM_CLUSTER_AGENT_KUBERNETES_CA_FILE): "
            f"{settings.kubernetes_ca_file} cannot be used: {error}"
        ) from error
    async with httpx.AsyncClient(
        base_url=settings.kubernetes_api_url, verify=trust, timeout=KUBERNETES_TIMEOUT_SECONDS
    ) as client:
        api = KubernetesApi(client, settings.kubernetes_token_file)
        yield (
            TokenReviewAttestor(api, settings.token_audience),
            [NamespaceEvents(api, _now)],
            KubernetesPods(api),
        )


def _reload(serving: Serving) -> Callable[[], Awaitable[None]]:
    async def reload() -> None:
        try:
            if serving.reload():
                _log.info("serving certificate read again")
        except DataDirectoryError as error:
            _log.error("serving certificate not read, the old one stays", error=str(error))

    return reload


def _follow_others(claiming: Claiming) -> Callable[[], Awaitable[None]]:
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


def _housekeeping(
    store: Store, room: SigningRoom, lists: CurrentLists, settings: Settings
) -> Callable[[], Awaitable[None]]:
    async def drop_expired() -> None:
        warn_of_ending(room, _now())
        try:
            if await store.lead():
                _log.debug("expired issuances dropped", count=await store.drop_expired_issuances(_now()))
                await store.acknowledgements.drop_gone(_now())
                await lists.drop_expired()
                pruned = await store.prune_audit(settings.retention, _now())
                _log.debug("audit records dropped", count=pruned)
        except Refusal as error:
            _log.error("housekeeping waits", reason=error.reason, error=str(error))

    return drop_expired


def _listing(lists: CurrentLists) -> Callable[[], Awaitable[None]]:
    async def refresh() -> None:
        try:
            await lists.refresh()
        except Refusal as error:
            _log.error("revocation lists not made", reason=error.reason, error=str(error))

    return refresh


def _roots(store: Store, keeper: RootKeeper | None) -> Callable[[], Awaitable[None]]:
    async def keep() -> None:
        if keeper is None:
            return
        try:
            await keeper.look()
            if await store.lead():
                await keeper.lead()
        except (Refusal, DataDirectoryError, StoreError) as error:
            _log.error("identity roots not kept", error=str(error))

    return keep


def _mounted(
    issuers: MountedIssuers, keeper: RootKeeper, metrics: MountedMetrics
) -> Callable[[], Awaitable[None]]:
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


def _following(store: Store, gone: GonePods) -> Callable[[], Awaitable[None]]:
    async def follow() -> None:
        try:
            if await store.lead():
                await gone.follow()
        except (ApiServerAway, Refusal) as error:
            _log.warning("Pods not watched; nothing is revoked for it", error=str(error))

    return follow


def _revoking(gone: GonePods) -> Callable[[], Awaitable[None]]:
    async def revoke() -> None:
        try:
            await gone.revoke_noted()
        except Refusal as error:
            _log.error("gone Pods not revoked yet", reason=error.reason, error=str(error))

    return revoke


def _counting(publications: Publications) -> Callable[[], Awaitable[None]]:
    async def count() -> None:
        try:
            await publications.count()
        except Refusal as error:
            _log.error("replicas not counted", reason=error.reason, error=str(error))

    return count


async def _repeat(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        # What we did not think of must not end a chore for good, without a word.
        except Exception:  # noqa: BLE001 - it is logged, with where it came from
            _log.exception("a chore failed; its next round comes", chore=chore.__qualname__)


def _now() -> datetime:
    return datetime.now(UTC)


def _configure_logging(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _complaint(code: int, error: Exception) -> int:
    sys.stderr.write(f"cluster-agent: {error}\n")
    return code


if __name__ == "__main__":
    main()
