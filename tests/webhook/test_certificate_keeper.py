"""The control plane's certificates, kept beside Secrets that hold anything."""

from __future__ import annotations

from datetime import UTC, datetime

from structlog.testing import capture_logs

from certs import WEBHOOK
from service.serving_certificate import ServingCertificate
from service.supervisor import Supervisor
from tests.waiting import until
from tests.webhook.api_server import CONFIGURATION, ApiServer
from webhook.certificate_keeper import CertificateKeeper

NAMESPACE = "vanadium-system"


async def test_bytes_that_are_not_utf_8_do_not_end_it() -> None:
    api, serving = ApiServer(), ServingCertificate()
    api.put_secret(NAMESPACE, WEBHOOK.secret, {"tls.crt": b"\xff\xfe\x00", "tls.key": b"\xff"})
    async with api.clients() as clients:
        keeper = CertificateKeeper(
            clients,
            serving,
            namespace=NAMESPACE,
            configuration=CONFIGURATION,
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
        assert serving.problem() is None
