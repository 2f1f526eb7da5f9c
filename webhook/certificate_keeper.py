"""The keeper of the control plane's certificates: renews those that are due, serves and publishes those in
force."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

import structlog

from blessings import BlessingsError
from certs import ControlPlaneCertificates, VersionConflict, ensure
from certs.api_server import API_SERVER_ERRORS, BoundedApiClient
from certs.ca_bundle import CaBundleMissing, check_ca_bundle, publish_ca_bundle
from certs.kubernetes_store import KubernetesStore
from service.serving_certificate import ServingCertificate
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread
from webhook.metrics import CaBundleMetrics

# Also how long a deleted caBundle stays deleted.
_EVERY_SECONDS = 30.0
_BACK_OFF = BackOff(2.0, _EVERY_SECONDS)
# Certificates are renewed days before they expire, and the server itself reports when its own has expired.
_UNREADY_SECONDS = 3600.0

_log = structlog.stdlib.get_logger("webhook.certificates")


class CertificateKeeper:
    """Keeps the control plane's certificates of one namespace.

    Attributes:
        current: the certificates in force; None before the first success.
    """

    def __init__(
        self,
        api: BoundedApiClient,
        serving: ServingCertificate | None,
        *,
        namespace: str,
        configuration: str,
        metrics: CaBundleMetrics,
        now: Callable[[], datetime],
    ) -> None:
        """
        Args:
            serving: gets the certificates of the webhook's server; None where it serves with another one, so
                that the caBundle is another program's too.
            configuration: the name of our MutatingWebhookConfiguration.
        """
        self.current: ControlPlaneCertificates | None = None
        self._api = api
        self._store = KubernetesStore(api, namespace)
        self._serving = serving
        self._namespace = namespace
        self._configuration = configuration
        self._metrics = metrics
        self._now = now

    def ends(self) -> dict[str, datetime]:
        """When the control plane's last root ends, once it is known."""
        if self.current is None:
            return {}
        return {"root": max(root.certificate.not_valid_after_utc for root in self.current.roots)}

    def task(self) -> Task:
        return Task(
            "certificates",
            self.round,
            period=_EVERY_SECONDS,
            failure="certificates not kept",
            expected=(VersionConflict, CaBundleMissing, BlessingsError, *API_SERVER_ERRORS),
            unready_after_seconds=_UNREADY_SECONDS,
            # Without a caBundle, API servers cannot reach this replica.
            needed=True,
            back_off=_BACK_OFF,
        )

    async def round(self) -> None:
        """Renews the certificates that are due, serves those in force, and publishes their roots."""
        keep = partial(ensure, self._store, now=self._now(), namespace=self._namespace)
        bundle = await in_daemon_thread("certificates", keep)
        if self._serving is None:
            self.current = bundle
            await in_daemon_thread("ca-bundle", partial(check_ca_bundle, self._api, self._configuration))
            return
        if self.current is None or bundle.webhook.chain_pem != self.current.webhook.chain_pem:
            self._serving.load(bundle.webhook.chain_pem.encode(), bundle.webhook.key_pem.encode())
        self.current = bundle
        publish = partial(publish_ca_bundle, self._api, self._configuration, bundle.roots)
        written = await in_daemon_thread("ca-bundle", publish)
        self._metrics.right(written=written)
        if written:
            _log.info("caBundle written", configuration=self._configuration)
