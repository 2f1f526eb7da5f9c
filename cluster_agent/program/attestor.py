"""The attestor that the settings choose."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from cluster_agent.attestation import Attestor
from cluster_agent.attestation.bounded import BoundedAttestor
from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_documents import reading
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.attestation.token_review import TokenReviewAttestor
from cluster_agent.issuing.replica_issuer import Tripwire
from cluster_agent.kubernetes.api import kubernetes_api
from cluster_agent.kubernetes.events import NamespaceEvents
from cluster_agent.kubernetes.pods import KubernetesPods
from cluster_agent.settings import Settings
from service.errors import SettingsError


@asynccontextmanager
async def attestation(
    settings: Settings, now: Callable[[], datetime]
) -> AsyncIterator[tuple[Attestor, list[Tripwire], KubernetesPods | None]]:
    """The attestor that the settings name, a function to report misused credentials to besides the metrics,
    and a source of deleted Pods, if there is one."""
    if settings.attestor == "jwks":
        async with reading(settings.jwks_location) as read:
            keys = KeySource(settings.jwks_location, read, now)
            yield (
                JwksAttestor(keys, issuer=settings.jwks_issuer, audience=settings.token_audience, now=now),
                [],
                None,
            )
        return
    try:
        trust = ssl.create_default_context(cafile=str(settings.kubernetes_ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            "--kubernetes-ca-file (VANADIUM_CLUSTER_AGENT_KUBERNETES_CA_FILE): "
            f"{settings.kubernetes_ca_file} cannot be used: {error}"
        ) from error
    async with kubernetes_api(settings.kubernetes_api_url, trust, settings.kubernetes_token_file) as api:
        at_a_time = settings.token_reviews_at_a_time
        attestor = BoundedAttestor(
            TokenReviewAttestor(api, settings.token_audience), at_a_time=at_a_time, most_waiting=8 * at_a_time
        )
        yield attestor, [NamespaceEvents(api, now)], KubernetesPods(api)
