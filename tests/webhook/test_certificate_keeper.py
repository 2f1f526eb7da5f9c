"""The control plane's certificates, kept beside Secrets that hold anything."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from certs import WEBHOOK
from certs.api_server import BoundedApiClient
from service.serving_certificate import ServingCertificate
from service.supervisor import Supervisor
from tests.waiting import until
from tests.webhook.api_server import CONFIGURATION, ApiServer
from webhook.certificate_keeper import CertificateKeeper
from webhook.metrics import CaBundleMetrics

NAMESPACE = "vanadium-system"


def written(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("vanadium_webhook_ca_bundle_writes_total")


def keeper_of(
    clients: BoundedApiClient, serving: ServingCertificate | None, registry: CollectorRegistry
) -> CertificateKeeper:
    return CertificateKeeper(
        clients,
        serving,
        namespace=NAMESPACE,
        configuration=CONFIGURATION,
        metrics=CaBundleMetrics(registry),
        now=lambda: datetime.now(UTC),
    )


async def test_a_replica_is_ready_only_when_the_ca_bundle_that_it_serves_under_is_published() -> None:
    """Else a Pod that is made as soon as the webhook is available would be made without identity."""
    api, serving = ApiServer(), ServingCertificate()
    api.has_configuration = False
    async with api.clients() as clients:
        supervisor = Supervisor([keeper_of(clients, serving, CollectorRegistry()).task()])
        with capture_logs():
            async with supervisor.running():
                await until("a round", lambda: supervisor.records["certificates"].failures)
                assert serving.problem() is None
                assert "certificates has not worked yet" in (supervisor.problem() or "")
                api.has_configuration = True
                await until("readiness", lambda: supervisor.problem() is None)
                assert api.ca_bundle


async def test_where_cert_manager_has_the_certificate_its_ca_bundle_stays_and_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = ApiServer()
    async with api.clients() as clients:
        keeper = keeper_of(clients, None, CollectorRegistry())
        supervisor = Supervisor([keeper.task()])
        with capture_logs():
            async with supervisor.running():
                await until("a round", lambda: supervisor.records["certificates"].failures)
                assert "certificates has not worked yet" in (supervisor.problem() or "")
                assert api.ca_bundle is None
                api.ca_bundle = "b2YgY2VydC1tYW5hZ2Vy"
                await until("readiness", lambda: supervisor.problem() is None)
        assert api.ca_bundle == "b2YgY2VydC1tYW5hZ2Vy"
        assert "cert-manager.io/inject-ca-from" in caplog.text
        # Its calls to the cluster agent still have a certificate of the control plane.
        assert keeper.current is not None


async def test_bytes_that_are_not_utf_8_do_not_end_it() -> None:
    api, serving, registry = ApiServer(), ServingCertificate(), CollectorRegistry()
    api.put_secret(NAMESPACE, WEBHOOK.secret, {"tls.crt": b"\xff\xfe\x00", "tls.key": b"\xff"})
    async with api.clients() as clients:
        keeper = keeper_of(clients, serving, registry)
        supervisor = Supervisor([keeper.task()])
        with capture_logs():
            async with supervisor.running():
                record = supervisor.records["certificates"]
                await until("a round", lambda: record.failures or keeper.current is not None)
                # Somebody repairs what the keeper did not dare to.
                if keeper.current is None:
                    del api.secrets[NAMESPACE, WEBHOOK.secret]
                await until("caBundle", lambda: api.ca_bundle)
                await until("a metric", lambda: written(registry) == 1)
                # Another tool takes it away; the next round is long in coming.
                api.ca_bundle = None
                await keeper.round()
                assert written(registry) == 2
                await keeper.round()
                assert written(registry) == 2
        assert keeper.ends()["root"] > datetime.now(UTC)
        assert serving.problem() is None
