"""The control plane's certificates, kept beside Secrets that hold anything."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from certs import WEBHOOK
from service.serving_certificate import ServingCertificate
from service.supervisor import Supervisor
from tests.waiting import until
from tests.webhook.api_server import CONFIGURATION, ApiServer
from webhook.certificate_keeper import CertificateKeeper
from webhook.metrics import CaBundleMetrics

NAMESPACE = "vanadium-system"


def written(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("vanadium_webhook_ca_bundle_writes_total")


async def test_bytes_that_are_not_utf_8_do_not_end_it() -> None:
    api, serving, registry = ApiServer(), ServingCertificate(), CollectorRegistry()
    api.put_secret(NAMESPACE, WEBHOOK.secret, {"tls.crt": b"\xff\xfe\x00", "tls.key": b"\xff"})
    async with api.clients() as clients:
        keeper = CertificateKeeper(
            clients,
            serving,
            namespace=NAMESPACE,
            configuration=CONFIGURATION,
            metrics=CaBundleMetrics(registry),
            now=lambda: datetime.now(UTC),
        )
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
