"""`vanadium-webhook`: serves admissions over HTTPS until SIGTERM."""

from __future__ import annotations

import gc
import logging
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import uvicorn

from blessings import Roots
from certs.api_server import BoundedApiClient
from service import logs, structlog_lines
from service.certificate_ends import CertificateEnds
from service.cluster_agent_calls import ClusterAgentAddress, mutual_tls
from service.cluster_agent_client import ClusterAgentClient
from service.errors import ServiceError, ServingCertificateError, SettingsError
from service.listening import listen
from service.memory import give_large_blocks_back
from service.program_metrics import ProgramMetrics
from service.serving_certificate import CertificateFiles, ServingCertificate
from service.supervisor import BackOff, Supervisor, Task
from service.uvicorn_server import options
from service.version import print_version_if_asked
from webhook.answers import Answers
from webhook.api_servers import ApiServers
from webhook.certificate_keeper import CertificateKeeper
from webhook.healer.diagnosis import Physician
from webhook.healer.healer import Healer
from webhook.healer.lease import Lease
from webhook.kubelets import Kubelets
from webhook.kubernetes_clients import connect, description
from webhook.lines import Lines
from webhook.metrics import CaBundleMetrics, HealerMetrics, Metrics, NoticeMetrics
from webhook.namespace_defaults import NamespaceDefaults
from webhook.notices.writer import Notices
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.worker import AgentNotReady, Reconciler
from webhook.server import Server, create_app
from webhook.settings import Settings, load_settings
from webhook.shares import Shares
from webhook.volume_support import NO_CLUSTER, NOT_LOOKED

_SHUTDOWN_SECONDS = 10
_CERTIFICATE_SECONDS = 60
# New objects between two collections. At Python's own 700, a large review's JSON is looked through hundreds
# of times while it is read.
_GARBAGE_THRESHOLD = 10_000
_LONGEST_RELOAD_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class Shared:
    """What the background tasks keep, and the admissions read."""

    settings: Settings
    certificate: ServingCertificate
    metrics: Metrics
    api_servers: ApiServers
    kubelets: Kubelets
    notices: Notices
    defaults: NamespaceDefaults

    @classmethod
    def by(cls, settings: Settings) -> Shared:
        """Nothing is kept yet."""
        metrics = Metrics()
        return cls(
            settings,
            # API servers support TLS 1.3 since about Kubernetes 1.17, but an administrator may have disabled
            # it.
            ServingCertificate(ssl.TLSVersion.TLSv1_2, ["http/1.1"]),
            metrics,
            ApiServers(settings.api_server_networks()),
            Kubelets(NOT_LOOKED if settings.reconcile else NO_CLUSTER),
            Notices(NoticeMetrics(metrics.registry)),
            NamespaceDefaults(settings.injection(), images_permitted=settings.namespace_images),
        )


def background_tasks(shared: Shared) -> list[Task]:
    """The tasks that run beside the admissions.

    Raises:
        ServingCertificateError: the certificate files cannot be used.
        SettingsError: there is no way to the API server.
    """
    settings = shared.settings
    tasks = _cluster_tasks(shared) if settings.reconcile else []
    if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        files = CertificateFiles(shared.certificate, settings.tls_certificate_file, settings.tls_key_file)
        files.refresh()  # there must be something to serve with before anything starts
        tasks.append(_reloading(files, settings.tls_poll_seconds))
    return tasks


def _reloading(files: CertificateFiles, seconds: float) -> Task:
    async def reload() -> None:
        files.refresh()

    return Task(
        "serving-certificate",
        reload,
        period=seconds,
        failure="serving certificate not reloaded",
        expected=(ServingCertificateError,),
        at_start=False,
        back_off=BackOff(seconds, max(seconds, _LONGEST_RELOAD_PAUSE_SECONDS)),
    )


def _cluster_tasks(shared: Shared) -> list[Task]:
    """The tasks for the control plane's certificates, the namespaces' Secrets, the API servers' addresses,
    what the kubelets can do and get, and the Events about Pods."""
    settings, certificate, registry = shared.settings, shared.certificate, shared.metrics.registry
    api = connect(settings.kubeconfig)
    keeper = CertificateKeeper(
        api,
        certificate if settings.tls_certificate_file is None else None,
        namespace=settings.namespace,
        configuration=settings.webhook_configuration,
        metrics=CaBundleMetrics(registry),
        now=_now,
    )

    def ends() -> dict[str, datetime]:
        return keeper.ends() | ({} if certificate.not_after is None else {"serving": certificate.not_after})

    CertificateEnds(registry, "webhook", ends, _now)

    address = ClusterAgentAddress(settings.cluster_agent_url, settings.cluster_agent_server_name)

    def cluster_agent() -> tuple[ClusterAgentClient, Roots]:
        if keeper.current is None:
            raise AgentNotReady("the control plane's certificates are not there yet")
        own = keeper.current.webhook
        roots = keeper.current.roots
        return ClusterAgentClient(address, mutual_tls(own.principal, own.blessing, roots)), roots

    reconciler = Reconciler(
        api,
        lambda: AgentSecrets(*cluster_agent()),
        excluded_namespaces=settings.left_alone(),
        defaults=shared.defaults,
        metrics=shared.metrics,
        now=_now,
    )
    return [
        keeper.task(),
        shared.api_servers.task(api),
        shared.kubelets.task(api),
        shared.kubelets.ttls_task(lambda: cluster_agent()[0]),
        shared.notices.task(api),
        *reconciler.tasks(),
        *_healing(shared, api, reconciler),
    ]


def _healing(shared: Shared, api: BoundedApiClient, reconciler: Reconciler) -> list[Task]:
    """The healer's task, where it is asked for."""
    settings = shared.settings
    if settings.heal == "off":
        return []
    holder = f"{socket.gethostname()}_{secrets.token_hex(4)}"
    oldest = settings.oldest_pod_agent()
    healer = Healer(
        api,
        Lease(api, settings.namespace, holder, clock=time.monotonic),
        lambda: reconciler.cluster.namespaces() - settings.left_alone(),
        lambda: Physician(shared.defaults.of, shared.kubelets.support, oldest),
        is_dry_run=settings.heal == "dry-run",
        per_minute=settings.heal_per_minute,
        notices=shared.notices,
        metrics=HealerMetrics(shared.metrics.registry),
    )
    return [healer.task()]


def _now() -> datetime:
    return datetime.now(UTC)


def server(shared: Shared, supervisor: Supervisor) -> Server:
    """The HTTPS server, not started, with its task added to `supervisor`. It accepts connections once there
    is a certificate to serve with. Raises SettingsError when it cannot listen."""
    settings, certificate, metrics = shared.settings, shared.certificate, shared.metrics
    listed = [shared.defaults.problem] if settings.reconcile else []
    app = create_app(
        background=[supervisor.running, lambda: certificate.required(_CERTIFICATE_SECONDS)],
        readiness=[certificate.problem, supervisor.problem, *listed],
        metrics=metrics,
    )
    listening = listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ssl_context_factory=lambda _config, _default: certificate.context,
        **{**options(_SHUTDOWN_SECONDS), "lifespan": "on"},
    )
    shares = Shares(shared.api_servers.has, metrics.turned_away)
    metrics.watch(shares)
    metrics.watch_volumes(lambda: shared.kubelets.support.objection is None)
    lines = Lines("webhook")
    answers = Answers(
        shared.defaults.of,
        settings.left_alone(),
        metrics,
        lines,
        support=lambda: shared.kubelets.support,
        notice=shared.notices.admitted,
    )
    serving = Server(config, app, certificate.context, listening, answers, shares)
    supervisor.add(serving.task)
    return serving


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the program; ends with status 2 when a setting is wrong, 3 when it cannot start."""
    arguments = sys.argv[1:] if arguments is None else arguments
    print_version_if_asked("vanadium-webhook", arguments)
    try:
        settings = load_settings(arguments)
    except SettingsError as error:
        sys.exit(_complain(error, 2))
    give_large_blocks_back()
    structlog_lines.configure(settings.log_level)
    logging.getLogger("uvicorn").setLevel(settings.log_level.upper())  # says where it listens
    # After its shutdown, uvicorn raises the signal that stopped it once more; being told to stop is not a
    # failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    shared = Shared.by(settings)
    try:
        supervisor = Supervisor(background_tasks(shared), describe=description)
        serving = server(shared, supervisor)
    except SettingsError as error:
        sys.exit(_complain(error, 2))
    except ServingCertificateError as error:
        sys.exit(_complain(error, uvicorn.config.STARTUP_FAILURE))
    ProgramMetrics(shared.metrics.registry, "webhook", supervisor)
    # Nothing that exists now is ever garbage: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    serving.run()
    if not serving.started:
        sys.exit(uvicorn.config.STARTUP_FAILURE)


def _complain(error: ServiceError, status: int) -> int:
    logs.complain("vanadium-webhook", error)
    return status


if __name__ == "__main__":
    main()
