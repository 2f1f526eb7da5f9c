"""The services of local mode: certificates, cluster agent and webhook as a cluster has them, on loopback."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from certs import CLUSTER_AGENT, WEBHOOK, ensure
from certs.directory_store import DirectoryStore
from vkube.local.cluster import BACK_OFF, LocalCluster, LocalSettings
from vkube.local.resources import LocalResources
from vkube.local.service import Service, free_port
from vkube.local.service_addresses import ServiceAddresses
from vkube.local.token_issuer import TokenIssuer
from vkube.runner import Node, Surroundings
from vkube.runner.addresses import LoopbackAddresses
from webhook.reconciler.memory_secrets import MemorySecrets

POD_AGENT_IMAGE = "vanadium/pod-agent"
TOKEN_ISSUER = "https://vkube.local"  # noqa: S105 - an address
_SERVER_NAME = CLUSTER_AGENT.dns_names()[0]


@asynccontextmanager
async def local_cluster(directory: Path, settings: LocalSettings) -> AsyncIterator[LocalCluster]:
    """A cluster whose files are in `directory`, which should have a short path. Raises VkubeError."""
    store = DirectoryStore(directory / "certificates")
    certificates = await asyncio.to_thread(ensure, store, now=datetime.now(UTC))
    trust = ssl.create_default_context(cadata=certificates.roots.to_pem())
    tokens = TokenIssuer(TOKEN_ISSUER, lambda: datetime.now(UTC))
    (directory / "jwks.json").write_text(tokens.jwks())
    secrets = MemorySecrets()
    resources = LocalResources(secrets, tokens, directory / "claims")
    addresses = LoopbackAddresses(random.Random())  # noqa: S311 - spreads, guards nothing
    # The services have one of their own, like a Pod: at 127.0.0.1 any other program's connection may have the
    # port before they listen.
    address = addresses.allocate()
    agent_port, agent_health_port, webhook_port = (free_port(address) for _ in range(3))
    agent_url = f"https://{address}:{agent_port}"
    services = ServiceAddresses(lambda: node.pods, addresses.allocate, settings.on_note)
    surroundings = Surroundings(
        resources,
        images={POD_AGENT_IMAGE: ["python", "-m", "pod_agent"], **settings.images},
        extra_environment=settings.extra_environment,
        back_off=BACK_OFF,
        on_line=settings.on_line,
        services=services,
    )
    async with AsyncExitStack() as stack:
        agent = await Service.start(
            "cluster-agent",
            "cluster_agent",
            {
                "name_prefix": settings.name_prefix,
                "host": address,
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
        stack.push_async_callback(agent.stop)
        webhook = await Service.start(
            "webhook",
            "webhook",
            {
                "host": address,
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
        stack.push_async_callback(webhook.stop)
        # The certificate is the Service's, but the address is loopback: only the name is checked.
        webhook_client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"https://{address}:{webhook_port}",
                verify=trust,
                trust_env=False,
                timeout=5,
                event_hooks={"request": [_expect(WEBHOOK.dns_names()[0])]},
            )
        )
        await agent.ready(webhook_client, f"http://{address}:{agent_health_port}/readyz")
        await webhook.ready(webhook_client, "/readyz")
        node = Node(directory / "pods", surroundings)
        cluster = LocalCluster(
            settings, node, resources, services, secrets, tokens, certificates, agent_url, webhook_client
        )
        # Before the services: a Pod's last act may need its identity.
        stack.push_async_callback(cluster.stop)
        yield cluster


def _expect(server_name: str) -> Callable[[httpx.Request], Any]:
    async def expect(request: httpx.Request) -> None:
        request.extensions = {**request.extensions, "sni_hostname": server_name}

    return expect
