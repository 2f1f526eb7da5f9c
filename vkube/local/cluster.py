"""The product on one machine: the real cluster agent and the real webhook as processes, Pods by the runner.

Plain code here does what a cluster would do: it makes Pods from Deployments as the controllers do, applies
the namespace selector, binds tokens to Pods, and keeps the bootstrap Secrets in memory.
"""

from __future__ import annotations

import asyncio
import base64
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from certs import CLUSTER_AGENT, WEBHOOK, ControlPlaneCertificates, ensure
from certs.directory_store import DirectoryStore
from service.cluster_agent_client import ClusterAgentAddress, ClusterAgentClient, mutual_tls
from vkube.local.admission import Admitted, admit
from vkube.local.manifests import Manifests, pods_of
from vkube.local.service import Service, free_port
from vkube.local.token_issuer import TokenIssuer
from vkube.runner import BackOff, Node, RunningPod, Surroundings
from webhook.layout import BOOTSTRAP_SECRET, ENABLED, INJECT_LABEL
from webhook.reconciler.agent_secrets import AgentSecrets
from webhook.reconciler.memory_secrets import MemorySecrets
from webhook.reconciler.reconcile import reconcile

POD_AGENT_IMAGE = "vanadium/pod-agent"
TOKEN_ISSUER = "https://vkube.local"  # noqa: S105 - an address
_SERVER_NAME = CLUSTER_AGENT.dns_names()[0]


@dataclass(frozen=True)
class LocalSettings:
    """What a user of local mode can choose."""

    name_prefix: str = "local:dev"
    ttl_seconds: int = 3600
    minimum_ttl_seconds: int = 300
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    on_line: Callable[[str, str, str], None] = lambda _pod, _container, _line: None


@dataclass(frozen=True)
class Started:
    """A Pod as admitted and as running."""

    admitted: Admitted
    pod: RunningPod


class LocalResources:
    """What the runner's Pods need: Secrets and ConfigMaps of the manifests, bootstrap Secrets, tokens."""

    def __init__(self, secrets: MemorySecrets, tokens: TokenIssuer) -> None:
        self._secrets = secrets
        self._tokens = tokens
        self.data: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.claims: dict[tuple[str, str], Path] = {}

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        if name == BOOTSTRAP_SECRET:
            stored = self._secrets.secrets.get(namespace)
            return None if stored is None else {key: text.encode() for key, text in stored.items()}
        return self._manifest("Secret", namespace, name)

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        return self._manifest("ConfigMap", namespace, name)

    async def claim(self, namespace: str, name: str) -> Path | None:
        return self.claims.get((namespace, name))

    async def token(
        self,
        namespace: str,
        service_account: str,
        audience: str,
        expiration_seconds: int,
        pod_name: str,
        pod_uid: str,
    ) -> tuple[str, datetime]:
        return self._tokens.token(
            namespace=namespace,
            service_account=service_account,
            audience=audience,
            pod_name=pod_name,
            pod_uid=pod_uid,
            lifetime=timedelta(seconds=expiration_seconds),
        )

    def _manifest(self, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
        manifest = self.data.get((kind, namespace, name))
        if manifest is None:
            return None
        binary = manifest.get("data" if kind == "Secret" else "binaryData") or {}
        text = manifest.get("stringData" if kind == "Secret" else "data") or {}
        return {key: base64.b64decode(value) for key, value in binary.items()} | {
            key: str(value).encode() for key, value in text.items()
        }


class LocalCluster:
    """Running services and Pods.

    Attributes:
        secrets: the bootstrap Secrets, as the reconciler left them.
        tokens: the issuer of the Pods' tokens.
        cluster_agent_url, certificates: to call the cluster agent with.
    """

    def __init__(
        self,
        settings: LocalSettings,
        node: Node,
        resources: LocalResources,
        secrets: MemorySecrets,
        tokens: TokenIssuer,
        certificates: ControlPlaneCertificates,
        cluster_agent_url: str,
        webhook: httpx.AsyncClient,
    ) -> None:
        self.settings = settings
        self.node = node
        self.secrets = secrets
        self.tokens = tokens
        self.certificates = certificates
        self.cluster_agent_url = cluster_agent_url
        self._resources = resources
        self._webhook = webhook
        self._chance = random.Random()  # noqa: S311 - for names and spreading, not for identities

    def administrator(self) -> AgentSecrets:
        """The cluster agent's secrets, with the webhook's certificate."""
        own, roots = self.certificates.webhook, self.certificates.roots
        address = ClusterAgentAddress(self.cluster_agent_url, _SERVER_NAME)
        return AgentSecrets(
            ClusterAgentClient(address, mutual_tls(own.principal, own.blessing, roots)), roots
        )

    async def apply(self, manifests: Manifests) -> list[Started]:
        """Admits and starts the manifests' Pods. Raises VkubeError."""
        self._resources.data |= manifests.data
        pods = [pod for workload in manifests.workloads for pod in pods_of(workload, self._chance)]
        injected = {
            pod["metadata"]["namespace"]
            for pod in pods
            if _is_labelled(manifests.namespaces.get(pod["metadata"]["namespace"]))
        }
        for namespace in injected:
            accounts = {
                pod["spec"]["serviceAccountName"] for pod in pods if pod["metadata"]["namespace"] == namespace
            }
            await asyncio.to_thread(self._reconcile, namespace, accounts)
        started = []
        for pod in pods:
            if pod["metadata"]["namespace"] in injected:
                admitted = await admit(self._webhook, pod)
            else:
                admitted = Admitted(pod, [], [])
            started.append(Started(admitted, await self.node.run(admitted.pod)))
        return started

    def _reconcile(self, namespace: str, accounts: set[str]) -> None:
        with self.administrator() as agent:
            known = agent.secrets(namespace)
            reconcile(namespace, accounts, known, agent=agent, store=self.secrets, now=datetime.now(UTC))


@asynccontextmanager
async def local_cluster(directory: Path, settings: LocalSettings) -> AsyncIterator[LocalCluster]:
    """A cluster whose files are in `directory`, which should have a short path. Raises VkubeError."""
    store = DirectoryStore(directory / "certificates")
    certificates = await asyncio.to_thread(ensure, store, now=datetime.now(UTC))
    trust = ssl.create_default_context(cadata=certificates.roots.to_pem())
    tokens = TokenIssuer(TOKEN_ISSUER, lambda: datetime.now(UTC))
    (directory / "jwks.json").write_text(tokens.jwks())
    agent_port, agent_health_port, webhook_port = free_port(), free_port(), free_port()
    agent_url = f"https://127.0.0.1:{agent_port}"
    agent = await Service.start(
        "cluster-agent",
        "cluster_agent",
        {
            "name_prefix": settings.name_prefix,
            "host": "127.0.0.1",
            "port": agent_port,
            "health_port": agent_health_port,
            "data_directory": directory / "cluster-agent",
            "serving_directory": store.directory(CLUSTER_AGENT.secret),
            "attestor": "jwks",
            "jwks_location": directory / "jwks.json",
            "jwks_issuer": TOKEN_ISSUER,
            "ttl_seconds": settings.ttl_seconds,
            "minimum_ttl_seconds": settings.minimum_ttl_seconds,
        },
        directory,
    )
    webhook = await Service.start(
        "webhook",
        "webhook",
        {
            "host": "127.0.0.1",
            "port": webhook_port,
            "reconcile": "false",
            "tls_certificate_file": store.directory(WEBHOOK.secret) / "tls.crt",
            "tls_key_file": store.directory(WEBHOOK.secret) / "tls.key",
            "pod_agent_image": POD_AGENT_IMAGE,
            "cluster_agent_url": agent_url,
            "cluster_agent_server_name": _SERVER_NAME,
        },
        directory,
    )
    secrets = MemorySecrets()
    resources = LocalResources(secrets, tokens)
    surroundings = Surroundings(
        resources,
        images={POD_AGENT_IMAGE: ["python", "-m", "pod_agent"], **settings.images},
        extra_environment=settings.extra_environment,
        back_off=BackOff(first=1.0, longest=30.0),
        on_line=settings.on_line,
    )
    node = Node(directory / "pods", surroundings)
    try:
        # The certificate is the Service's, but the address is loopback: only the name is checked.
        webhook_client = httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{webhook_port}",
            verify=trust,
            trust_env=False,
            event_hooks={"request": [_expect(WEBHOOK.dns_names()[0])]},
        )
        async with webhook_client:
            await agent.ready(webhook_client, f"http://127.0.0.1:{agent_health_port}/readyz")
            await webhook.ready(webhook_client, "/readyz")
            yield LocalCluster(
                settings, node, resources, secrets, tokens, certificates, agent_url, webhook_client
            )
    finally:
        await node.stop(grace_seconds=5)
        await asyncio.gather(agent.stop(), webhook.stop())


def _expect(server_name: str) -> Callable[[httpx.Request], Any]:
    async def expect(request: httpx.Request) -> None:
        request.extensions = {**request.extensions, "sni_hostname": server_name}

    return expect


def _is_labelled(namespace: Mapping[str, Any] | None) -> bool:
    """Whether the webhook configuration's namespaceSelector would match."""
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return bool(labels.get(INJECT_LABEL) == ENABLED)
