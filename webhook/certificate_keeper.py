"""Runs `certs` beside the admissions: what is due is renewed, what is in force is served and published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import structlog
import urllib3
from kubernetes.client.exceptions import ApiException

from blessings import BlessingsError
from certs import Conflict, ControlPlaneCertificates, ensure
from certs.ca_bundle import publish_ca_bundle
from certs.kubernetes_store import KubernetesStore
from service.serving_certificate import ServingCertificate
from webhook.kubernetes_clients import KubernetesClients

# Also how long a wiped caBundle stays wiped.
_EVERY_SECONDS = 30.0
_RETRY_SECONDS = 2.0

_log = structlog.stdlib.get_logger("webhook.certificates")


class CertificateKeeper:
    """Keeps the control plane's certificates of one namespace.

    Attributes:
        current: what is in force; None before the first success.
    """

    def __init__(
        self,
        clients: KubernetesClients,
        serving: ServingCertificate,
        *,
        namespace: str,
        configuration: str,
        now: Callable[[], datetime],
    ) -> None:
        """`configuration` is the name of our MutatingWebhookConfiguration."""
        self.current: ControlPlaneCertificates | None = None
        self._clients = clients
        self._store = KubernetesStore(clients.core, namespace)
        self._serving = serving
        self._namespace = namespace
        self._configuration = configuration
        self._now = now

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps them as long as it is entered."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self) -> None:
        while True:
            try:
                await self._once()
                pause = _EVERY_SECONDS
            except (ApiException, urllib3.exceptions.HTTPError, Conflict, BlessingsError) as error:
                _log.warning("certificates not kept", error=_brief(error), retrySeconds=_RETRY_SECONDS)
                pause = _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _once(self) -> None:
        bundle = await asyncio.to_thread(ensure, self._store, now=self._now(), namespace=self._namespace)
        if self.current is None or bundle.webhook.chain_pem != self.current.webhook.chain_pem:
            self._serving.load(bundle.webhook.chain_pem.encode(), bundle.webhook.key_pem.encode())
        self.current = bundle
        published = await asyncio.to_thread(
            publish_ca_bundle, self._clients.admission_registration, self._configuration, bundle.roots
        )
        if published:
            _log.info("caBundle written", configuration=self._configuration)


def _brief(error: Exception) -> str:
    return f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
