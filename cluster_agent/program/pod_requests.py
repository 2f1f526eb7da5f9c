"""Signing of PodCertificateRequests, as far as the settings and the API server allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cluster_agent.audit.refusals import Refusals
from cluster_agent.errors import Refusal
from cluster_agent.federation.federation import Federation
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.kubernetes.beginnings import BeginningEvents, Begun
from cluster_agent.kubernetes.events import PodEvents
from cluster_agent.kubernetes.pod_requests import PodRequestApi, Vouchers, VouchingPod
from cluster_agent.kubernetes.trust_bundles import TrustBundleApi
from cluster_agent.model import Application
from cluster_agent.monitoring.metrics import Metrics
from cluster_agent.monitoring.pod_request_metrics import PodRequestMetrics
from cluster_agent.pod_requests.checks import POD_ENDED
from cluster_agent.pod_requests.desk import Desk, Steps
from cluster_agent.pod_requests.federated_bundles import FederatedBundlesKeeper
from cluster_agent.pod_requests.guard import MADE_UNGUARDED
from cluster_agent.pod_requests.request import PodRequest
from cluster_agent.pod_requests.signer import PodRequestSigner
from cluster_agent.pod_requests.trust_bundle import TrustBundleKeeper
from cluster_agent.pod_requests.withdrawal import Withdrawal
from cluster_agent.program.attestor import Attestation
from cluster_agent.program.tasks import every, led
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.settings import Settings
from cluster_agent.store import Store
from service.supervisor import Task
from service.watch_age import WatchMetrics

# As webhook/layout.py has it: the two programs import nothing of each other.
INJECT_LABEL = ("vanadium.io/inject", "enabled")
OF_CLUSTER = frozenset({"kube-system", "kube-public", "kube-node-lease"})
_OWN = "vanadium-system"
# In the audit, in place of a path.
PATH = "PodCertificateRequest"


@dataclass(frozen=True)
class _Watch:
    """Tells the metrics, the audit and the Pod's author."""

    counted: Metrics
    metrics: PodRequestMetrics
    refusals: Refusals
    events: PodEvents
    beginnings: BeginningEvents
    now: Callable[[], datetime]

    def issued(self, request: PodRequest, steps: Steps, pod: VouchingPod | None) -> None:
        self.counted.issued(None)
        self.metrics.issued(steps.answered)
        if pod is None or not pod.is_new or pod.created_at is None:
            return
        requested, answered = request.created_at - pod.created_at, self.now() - pod.created_at
        self.metrics.begun(answered.total_seconds())
        message = (
            "First identity, in a volume. After the Pod's creation (Kubernetes states whole seconds): "
            f"requested {_seconds(requested)}, answered {_seconds(answered)}. After the request was seen: "
            f"signed {1000 * steps.signed:.0f} ms, answered {1000 * steps.answered:.0f} ms"
        )
        application = Application(request.namespace, request.service_account)
        self.beginnings.note(Begun(application, request.pod_name, request.pod_uid, message))

    def denied(self, request: PodRequest, refusal: Refusal) -> None:
        self.metrics.denied(refusal)
        if refusal.reason == POD_ENDED:
            # Each Job's Pod that nobody deleted has such a request, and nobody misses its certificate.
            return
        # No name is proven by a request that is denied.
        self.refusals.add(PATH, refusal, address=f"{request.namespace}/{request.pod_name}")
        self._tell(request, "CertificateDenied", refusal)

    def waits(self, request: PodRequest, refusal: Refusal, failures: int) -> None:
        self.metrics.waits(refusal)
        # What waits for a quarter of an hour is told at once.
        if failures > 2 or refusal.reason == MADE_UNGUARDED:
            self._tell(request, "CertificateWaits", refusal)

    def _tell(self, request: PodRequest, reason: str, refusal: Refusal) -> None:
        message = f"{refusal.reason}: {refusal}"
        self.events.write(request.namespace, request.pod_name, request.pod_uid, reason, message)


def _seconds(some: timedelta) -> str:
    return f"{some.total_seconds():.0f} s"


def never(token_file: Path) -> frozenset[str]:
    """The namespaces where nobody gets an identity, whatever their labels: the cluster's, and our own. The
    kubelet writes the namespace beside our token; without that file it is the one of `deploy/base`."""
    try:
        own = token_file.with_name("namespace").read_text().strip()
    except OSError:
        own = ""
    return OF_CLUSTER | {own or _OWN}


def pod_request_tasks(
    settings: Settings,
    attested: Attestation,
    store: Store,
    replicas: ReplicaIssuer,
    keeper: RootKeeper | None,
    federation: Federation,
    lists: CurrentLists,
    refusals: Refusals,
    counted: Metrics,
    watches: WatchMetrics,
) -> Sequence[Task]:
    """The tasks that follow the requests and answer them, by the same policy as `replicas`; none without an
    API server to ask."""
    api, beginnings = attested.api, attested.beginnings
    if api is None or beginnings is None or settings.pod_certificates == "off":
        return []
    now, metrics = replicas.now, PodRequestMetrics(counted.registry)
    vouchers = Vouchers(api, INJECT_LABEL, never(settings.kubernetes_token_file))
    signer = PodRequestSigner(
        room=replicas.room,
        registry=replicas.registry,
        entitlements=store.entitlements,
        issuances=store.issuances,
        vouchers=vouchers,
        label=INJECT_LABEL,
        ttl=replicas.ttl,
        now=now,
        watch=replicas.watch,
    )
    requests = PodRequestApi(api)
    watch = _Watch(counted, metrics, refusals, PodEvents(api, now), beginnings, now)
    desk = Desk(requests, store.pod_requests, signer, watch, now)
    metrics.follow(desk.pending)
    watches.follow("pod-requests", requests.age)
    bundles = TrustBundleApi(api)
    bundle = TrustBundleKeeper(bundles, replicas.room, keeper, store.fleet, now)
    federated = FederatedBundlesKeeper(bundles, federation)
    withdrawal = Withdrawal(store.entitlements, store.revocations, vouchers, lists.refresh, now)
    return [
        every(10, "trust-bundle", led(store, bundle.keep), "ClusterTrustBundle not kept"),
        every(
            10,
            "federated-bundles",
            led(store, federated.keep),
            "ClusterTrustBundles of federated trust domains not kept",
        ),
        every(30, "entitlements", led(store, withdrawal.look), "entitlements by volume not looked after"),
        replace(
            every(15, "pod-requests-guard", desk.check_guard, "PodCertificateRequests not signed"),
            at_start=True,
        ),
        every(1, "pod-requests", desk.follow, "PodCertificateRequests not watched"),
        every(1, "pod-requests-answered", desk.work, "PodCertificateRequests not answered"),
        every(5, "pod-requests-ended", desk.forget_ended, "answered PodCertificateRequests not forgotten"),
    ]
