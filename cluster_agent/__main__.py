"""The program: settings in, servers up, until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop

from cluster_agent.api.app import create_app
from cluster_agent.api.audit import Searched
from cluster_agent.api.inventory import Shown
from cluster_agent.api.request_callers import RequestCallers
from cluster_agent.api.routes import routers
from cluster_agent.attestation import Attestor
from cluster_agent.audit.refusals import Refusals
from cluster_agent.callers import Administrators, warn_of_overlap
from cluster_agent.claims.claim_keeper import ClaimKeeper
from cluster_agent.errors import ClusterAgentError
from cluster_agent.federation.federation import Federation
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.jwt.svid_issuer import JwtSvidIssuer
from cluster_agent.monitoring.certificates import certificate_ends, seconds_until
from cluster_agent.monitoring.event_metrics import EventMetrics
from cluster_agent.monitoring.jwt_metrics import JwtMetrics
from cluster_agent.monitoring.metrics import FleetMetrics, Metrics, MountedMetrics
from cluster_agent.monitoring.tracing_settings import traces_are_wanted
from cluster_agent.program.attestor import attestation
from cluster_agent.program.jwt import discovery, jwt_key_keeper, jwt_tasks
from cluster_agent.program.keys import mounted_issuers, root_keeper, signing_room, sole_use_of_data
from cluster_agent.program.pod_requests import pod_request_tasks
from cluster_agent.program.ports import Ports
from cluster_agent.program.steady_clock import SteadyClock
from cluster_agent.program.tasks import (
    attempt,
    counting_fleet,
    essential,
    every,
    following_mounted,
    housekeeping,
    inspecting,
    keeping_roots,
    led,
    note_heads,
    reloading,
    write_refusals,
)
from cluster_agent.program.witness import witness_at
from cluster_agent.publications import Publication, Publications
from cluster_agent.rate_limits import RateLimits
from cluster_agent.registry.registrar import Registrar
from cluster_agent.registry.registry import Registry
from cluster_agent.revocation.gone_pods import GonePods
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.secrets.bootstrap_secrets import BootstrapSecrets
from cluster_agent.server.certificate import Serving
from cluster_agent.settings import Settings, read_settings
from cluster_agent.signing.room import SigningRoom
from cluster_agent.store import Store, open_store
from service import logs, structlog_lines
from service.certificate_ends import CertificateEnds
from service.errors import SettingsError
from service.event_loop import event_loop
from service.memory import give_large_blocks_back
from service.program_metrics import ProgramMetrics
from service.supervisor import Supervisor
from service.version import print_version_if_asked
from service.watch_age import WatchMetrics

if TYPE_CHECKING:
    from cluster_agent.monitoring.tracing import Tracing

_log = structlog.get_logger("cluster_agent")


def main() -> None:
    """Entry point of the `cluster-agent` program. Exits with 2 for a wrong setting, 1 for another failure."""
    print_version_if_asked("cluster-agent", sys.argv[1:])
    try:
        settings = read_settings(sys.argv[1:])
    except SettingsError as error:
        sys.exit(_complaint(2, error))
    give_large_blocks_back()
    structlog_lines.configure(settings.log_level)
    try:
        # asyncio itself spends twice the time on a TLS connection.
        with sole_use_of_data(settings):
            uvloop.run(_run(settings), loop_factory=lambda: event_loop(uvloop.new_event_loop))
    except SettingsError as error:
        sys.exit(_complaint(2, error))
    except ClusterAgentError as error:
        sys.exit(_complaint(1, error))


async def _run(settings: Settings) -> None:
    metrics = Metrics()
    tracing = _tracing(metrics)
    issuers = mounted_issuers(settings, _now)
    store = await asyncio.to_thread(open_store, settings.store_url)
    refusals = Refusals(time.monotonic, _now)
    try:
        room = signing_room(settings, issuers, _now, begins=not await store.is_bound())
        serving = Serving(settings.serving_directory, room.identity_roots + room.bootstrap_roots)
        await store.claim_authority(room.lasting_fingerprints, settings.prefix)
        witness = witness_at(settings.witness, room.issuing, _now)
        if witness is not None:
            await witness.check(store)
        async with attestation(settings, EventMetrics(metrics.registry), _now) as attested:
            attestor, pods = attested.attestor, attested.pods
            _watch(metrics, store, attestor, room, serving)
            administrators = Administrators(
                settings.access_list, room.issuing.public_key, settings.secret_keepers_list
            )
            claims = ClaimKeeper(
                settings.prefix,
                room,
                administrators,
                store.claim,
                settings.ttl.default,
                settings.claim_code_file,
                serving.trust,
                _now,
            )
            warn_of_overlap(settings.access_list, settings.secret_keepers_list)
            await claims.start()
            registry = Registry(store.registered, settings.prefix, room.issuing, administrators)
            _log.info(
                "starting",
                prefix=settings.name_prefix,
                attestor=attestor.kind,
                host=settings.host,
                port=settings.port,
                root=room.kind,
                keys=room.fingerprints,
            )
            keeper = root_keeper(settings, room, store, serving, issuers, _now)
            if keeper is not None:
                await keeper.start()
            mounted = None
            if issuers is not None and keeper is not None:
                mounted = following_mounted(issuers, keeper, MountedMetrics(metrics.registry).note)
                await attempt(mounted, "mounted issuer not followed yet")
            lists = CurrentLists(store, room, timedelta(seconds=settings.crl_seconds), _now)
            await lists.refresh()
            metrics.watch_lists(lambda: lists.not_made, lambda: seconds_until(lists.ends_at, _now()))
            jwt_keys = jwt_key_keeper(settings, room, store, _now)
            await jwt_keys.start()
            public = discovery(settings, jwt_keys)
            federation = Federation(store.federation, room.issuing, settings.prefix, administrators, _now)
            await federation.look()
            kept: list[Publication] = [lists, jwt_keys, federation, *([] if keeper is None else [keeper])]
            publications = Publications(store, kept, settings.pace, _now)
            metrics.watch_publications(publications)
            replicas = ReplicaIssuer(
                room=room,
                registry=registry,
                secrets=store.secrets,
                issuances=store.issuances,
                attestor=attestor,
                tripwires=(metrics, *attested.tripwires),
                ttl=settings.ttl,
                now=_now,
                watch=metrics.stages if tracing is None else tracing.issuances(metrics.stages),
            )
            routes = routers(
                administrators=administrators,
                secrets=BootstrapSecrets(administrators, room, registry, store.secrets, _now),
                issuer=replicas,
                jwt=JwtSvidIssuer(
                    replicas, jwt_keys, store.jwt_svids, settings.jwt_ttl, settings.oidc_issuer, _now
                ),
                jwt_metrics=JwtMetrics(metrics.registry, jwt_keys, _now),
                federation=federation,
                claims=claims,
                registrar=Registrar(
                    registry=registry,
                    administrators=administrators,
                    room=room,
                    ttl=settings.ttl,
                    secrets=store.secrets,
                    revocations=store.revocations,
                    now=_now,
                ),
                revoker=Revoker(store.revocations, lists, administrators, settings.prefix, _now),
                publications=publications,
                beginnings=attested.beginnings,
                keeper=keeper,
                serving=serving,
                metrics=metrics,
                shown=Shown(store.inventory, settings.prefix, administrators, _now),
                searched=Searched(store.audit_search, administrators, _now),
            )
            callers = RequestCallers(
                serving, room, administrators, RateLimits(settings.rates, time.monotonic), _now
            )
            app = create_app(callers, metrics, refusals, routes)
            write = partial(write_refusals, store, refusals)
            note = partial(note_heads, store, room.issuing, witness)
            fleet = counting_fleet(store, FleetMetrics(metrics.registry), _now)
            clock = SteadyClock(_now, time.monotonic)
            house = housekeeping(store, room, lists, settings.retention, _now, clock)
            tasks = [
                essential(1, "claim", claims.look, "claim not read"),
                # What another replica of the agent revoked is on our lists after this.
                essential(2, "revocation-lists", lists.refresh, "revocation lists not made"),
                every(1, "refusals", write, "refusals not recorded yet"),
                every(10, "serving-certificate", reloading(serving), "serving certificate not read"),
                every(30, "acknowledgements", publications.count, "replicas not counted"),
                every(60, "fleet", fleet, "fleet not counted"),
                every(60, "audit-heads", note, "heads of the audit not noted"),
                every(600, "housekeeping", house, "housekeeping waits"),
                inspecting(store, registry),
                *jwt_tasks(settings, store, jwt_keys, federation, public, clock),
            ]
            if keeper is not None:
                seconds = settings.root_margin_seconds / 12
                keep = keeping_roots(store, keeper, clock)
                tasks.append(essential(seconds, "identity-roots", keep, "identity roots not kept"))
            if mounted is not None:
                tasks.append(every(10, "mounted-issuer", mounted, "mounted issuer not followed yet"))
            tasks += attested.tasks()
            watches = WatchMetrics(metrics.registry, "cluster_agent")
            if pods is not None:
                gone = GonePods(store, pods, lists.refresh, _now)
                follow = led(store, gone.follow, pods.age.rest)
                watches.follow("pods", pods.age)
                tasks += [
                    # Until Pods are listed and watched again, after a watch ended.
                    every(5, "pods", follow, "Pods not watched; nothing is revoked for it"),
                    every(2, "gone-pods", gone.revoke_noted, "gone Pods not revoked yet"),
                ]
            tasks += pod_request_tasks(
                settings, attested, store, replicas, keeper, federation, lists, refusals, metrics, watches
            )
            supervisor = Supervisor(tasks)
            ports = Ports(settings, app, claims, serving, metrics, tracing, refusals, supervisor, public)
            ProgramMetrics(metrics.registry, "cluster_agent", supervisor)
            # What is there now stays: to look through it for garbage again and again finds none.
            gc.collect()
            gc.freeze()
            async with supervisor.running():
                try:
                    await ports.serve()
                finally:
                    await attempt(partial(write, all_of_them=True), "refusals not recorded at the end")
                    await attempt(note, "heads of the audit not noted at the end")
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
        from cluster_agent.monitoring.tracing import Tracing
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"traces are asked for (OTEL_EXPORTER_OTLP_ENDPOINT), and {error.name} is not installed: install "
            "vanadium-cluster[cluster-agent,tracing], or set OTEL_SDK_DISABLED=true"
        ) from error
    return Tracing(metrics.registry)


def _watch(metrics: Metrics, store: Store, attestor: Attestor, room: SigningRoom, serving: Serving) -> None:
    for name in store.queues:
        metrics.watch_queue(name, lambda name=name: store.queues[name])  # type: ignore[misc]
    metrics.watch_queue("attestation", lambda: attestor.waiting)
    metrics.watch_audit(lambda: store.audit_chains_broken)

    def ends() -> Mapping[str, datetime]:
        return certificate_ends(room, serving.not_after, _now())

    CertificateEnds(metrics.registry, "cluster_agent", ends, _now)


def _now() -> datetime:
    return datetime.now(UTC)


def _complaint(code: int, error: Exception) -> int:
    logs.complain("cluster-agent", error)
    return code


if __name__ == "__main__":
    main()
