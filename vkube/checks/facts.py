"""Facts about a cluster, each read once. What may not be read is empty, and the reason is noted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vkube.admission.deployed import volumes
from vkube.admission.waiting import Waiting, waiting_in
from vkube.connection.cluster import Cluster, Object
from vkube.errors import ClusterError, ForbiddenError
from webhook.volume_support import Kubelet, VolumeSupport

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
POLICIES = (
    "vanadium-not-injected",
    "vanadium-pod-certificates",
    "vanadium-trust-bundles",
    "vanadium-webhook-secrets",
)
BINDINGS = (
    "vanadium-not-injected-deny",
    "vanadium-not-injected-warn",
    "vanadium-pod-certificates",
    "vanadium-trust-bundles",
    "vanadium-webhook-secrets",
)
RIGHTS = (
    ("", "namespaces"),
    ("", "secrets"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("", "persistentvolumeclaims"),
    ("apps", "deployments"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("networking.k8s.io", "networkpolicies"),
)
"""What an installation creates: API group and resource."""
SECRETS = ("vanadium-control-plane-ca", "webhook-serving", "cluster-agent-serving")
PARTS = ("webhook", "cluster-agent")


@dataclass
class Facts:
    """`agent` is what the cluster agent itself says; None when it was not asked, or did not answer."""

    now: datetime
    system: str
    version: str
    groups: set[str]
    rights: dict[tuple[str, str], bool]
    nodes: list[Object]
    storage_classes: list[Object]
    system_namespace: Object | None
    deployments: dict[str, Object | None]
    pods: dict[str, list[Object]]
    endpoints: dict[str, int]
    secrets: dict[str, dict[str, str] | None]
    claims: list[Object]
    webhook_configurations: dict[str, Object]
    policies: dict[str, Object | None]
    bindings: dict[str, Object | None]
    roles: dict[str, Object | None]
    network_policies: set[str]
    namespaces: list[Object]
    bootstrap: dict[str, Object | None]
    service_accounts: dict[str, list[str]]
    applications: dict[str, list[Object]]
    volumes: VolumeSupport
    waiting: dict[str, dict[str, Waiting]]
    """By namespace and name, the Pods whose kubelet has got no certificate for them."""
    unreadable: list[str] = field(default_factory=list)
    """Such as `nodes`, `secrets of namespace shop`, or the reason of another refusal."""
    agent: dict[str, Any] | None = None
    agent_problem: str = ""

    @property
    def installed(self) -> bool:
        """Whether there is anything of the product."""
        return self.system_namespace is not None and any(self.deployments.values())


class Reader:
    """Reads; what fails is empty and noted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.unreadable: list[str] = []

    def one(self, path: str) -> Object | None:
        try:
            return self._cluster.find(path)
        except ClusterError as error:
            self._note(path.rpartition("/")[0], error)
            return None

    def many(self, path: str, **query: object) -> list[Object]:
        try:
            return list(self._cluster.items(path, **query))
        except ClusterError as error:
            self._note(path, error)
            return []

    def waiting(
        self,
        namespace: str,
        pods: list[Object],
        support: VolumeSupport,
        kubelets: tuple[Kubelet, ...],
        now: datetime,
    ) -> dict[str, Waiting]:
        try:
            return waiting_in(self._cluster, namespace, pods, support, kubelets, now)
        except ClusterError as error:
            self._note(f"/api/v1/namespaces/{namespace}/podcertificaterequests", error)
            return {}

    def _note(self, collection: str, error: ClusterError) -> None:
        """A refusal is noted by its collection: the API server's own text has 150 characters."""
        before, _, resource = collection.rpartition("/")
        in_namespace = before.partition("/namespaces/")[2]
        what = f"{resource} of namespace {in_namespace}" if in_namespace else resource
        self.unreadable.append(what if isinstance(error, ForbiddenError) else str(error))

    def may_create(self, group: str, resource: str, namespace: str) -> bool:
        asked = {"group": group, "resource": resource, "verb": "create", "namespace": namespace}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked}}  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._cluster.create(path, body)["status"]["allowed"])


def read_facts(cluster: Cluster, now: datetime) -> Facts:
    """Reads all facts but the cluster agent's. Raises UnreachableError."""
    from vkube.connection.secrets import decoded

    reader, system = Reader(cluster), cluster.system
    core, apps = f"/api/v1/namespaces/{system}", f"/apis/apps/v1/namespaces/{system}"
    # One that is being deleted loses its Secret first, and no Pod can be made there any longer.
    labelled = [
        one
        for one in reader.many("/api/v1/namespaces", labelSelector="vanadium.io/inject=enabled")
        if "deletionTimestamp" not in one["metadata"]
    ]
    names = [one["metadata"]["name"] for one in labelled]
    rbac = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    found = {name: reader.one(f"{core}/secrets/{name}") for name in SECRETS}
    applications = {name: reader.many(f"/api/v1/namespaces/{name}/pods") for name in names}
    nodes = reader.many("/api/v1/nodes")
    support, kubelets = volumes(cluster, nodes)
    return Facts(
        now=now,
        system=system,
        version=str(cluster.get("/version").get("gitVersion", "")),
        groups={one["name"] for one in cluster.get("/apis").get("groups", [])},
        rights={one: reader.may_create(*one, system) for one in RIGHTS},
        nodes=nodes,
        storage_classes=reader.many("/apis/storage.k8s.io/v1/storageclasses"),
        system_namespace=reader.one(f"/api/v1/namespaces/{system}"),
        deployments={name: reader.one(f"{apps}/deployments/{name}") for name in PARTS},
        pods={
            name: reader.many(f"{core}/pods", labelSelector=f"app.kubernetes.io/name={name}")
            for name in PARTS
        },
        endpoints={name: _ready(reader, system, name) for name in PARTS},
        secrets={name: None if one is None else decoded(one) for name, one in found.items()},
        claims=reader.many(f"{core}/persistentvolumeclaims"),
        webhook_configurations={
            one["metadata"]["name"]: one for one in reader.many(f"{_ADMISSION}/mutatingwebhookconfigurations")
        },
        policies={name: reader.one(f"{_ADMISSION}/validatingadmissionpolicies/{name}") for name in POLICIES},
        bindings={
            name: reader.one(f"{_ADMISSION}/validatingadmissionpolicybindings/{name}") for name in BINDINGS
        },
        roles={name: reader.one(f"{rbac}/{name}") for name in ("vanadium-webhook", "vanadium-cluster-agent")},
        network_policies={
            one["metadata"]["name"]
            for one in reader.many(f"/apis/networking.k8s.io/v1/namespaces/{system}/networkpolicies")
        },
        namespaces=labelled,
        bootstrap={
            name: reader.one(f"/api/v1/namespaces/{name}/secrets/vanadium-bootstrap") for name in names
        },
        service_accounts={
            name: [
                one["metadata"]["name"] for one in reader.many(f"/api/v1/namespaces/{name}/serviceaccounts")
            ]
            for name in names
        },
        applications=applications,
        volumes=support,
        waiting={
            name: reader.waiting(name, there, support, kubelets, now) for name, there in applications.items()
        },
        unreadable=reader.unreadable,
    )


def _ready(reader: Reader, system: str, service: str) -> int:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{system}/endpointslices"
    slices = reader.many(path, labelSelector=f"kubernetes.io/service-name={service}")
    return sum(
        bool((one.get("conditions") or {}).get("ready"))
        for found in slices
        for one in found.get("endpoints") or []
    )
