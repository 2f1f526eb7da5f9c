"""The attestor that the settings choose."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from cluster_agent.attestation import Attestor
from cluster_agent.attestation.bounded import BoundedAttestor
from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_documents import reading
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.attestation.token_review import TokenReviewAttestor
from cluster_agent.errors import Unavailable
from cluster_agent.flags import setting
from cluster_agent.issuing.replica_issuer import Tripwire
from cluster_agent.kubernetes.api import KubernetesApi, kubernetes_api
from cluster_agent.kubernetes.beginnings import BeginningEvents, Outcomes
from cluster_agent.kubernetes.events import NamespaceEvents
from cluster_agent.kubernetes.pods import KubernetesPods
from cluster_agent.program.tasks import every, keeping_keys
from cluster_agent.settings import Settings
from service.errors import SettingsError
from service.supervisor import Task


@dataclass(frozen=True)
class Attestation:
    """The attestor that the settings name, what is told of misused credentials besides the metrics, and, if
    there is one, the API server with the source of deleted Pods and the Events of Pods, or the token issuer's
    keys."""

    attestor: Attestor
    tripwires: Sequence[Tripwire] = ()
    pods: KubernetesPods | None = None
    beginnings: BeginningEvents | None = None
    keys: KeySource | None = None
    api: KubernetesApi | None = None

    def tasks(self) -> list[Task]:
        """What runs in the background for it."""
        tasks = []
        if self.beginnings is not None:
            tasks.append(every(1, "identity-events", self.beginnings.write, "Events not written"))
        if self.keys is not None:
            tasks.append(keeping_keys(self.keys))
        return tasks


@asynccontextmanager
async def attestation(
    settings: Settings, outcomes: Outcomes, now: Callable[[], datetime]
) -> AsyncIterator[Attestation]:
    """Raises SettingsError when a file that the settings name cannot be used."""
    if settings.attestor == "jwks":
        async with reading(settings.jwks_location) as read:
            keys = KeySource(settings.jwks_location, read, now)
            if not settings.jwks_location.startswith("https://"):
                await _require(keys)
            attestor = JwksAttestor(
                keys, issuer=settings.jwks_issuer, audience=settings.token_audience, now=now
            )
            yield Attestation(attestor, keys=keys)
        return
    try:
        trust = ssl.create_default_context(cafile=str(settings.kubernetes_ca_file))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{setting('kubernetes_ca_file')}: {settings.kubernetes_ca_file} cannot be used: {error}"
        ) from error
    async with kubernetes_api(settings.kubernetes_api_url, trust, settings.kubernetes_token_file) as api:
        at_a_time = settings.token_reviews_at_a_time
        bounded = BoundedAttestor(
            TokenReviewAttestor(api, settings.token_audience), at_a_time=at_a_time, most_waiting=8 * at_a_time
        )
        beginnings = BeginningEvents(api, outcomes, now, time.monotonic)
        yield Attestation(bounded, [NamespaceEvents(api, now)], KubernetesPods(api), beginnings, api=api)


async def _require(keys: KeySource) -> None:
    """Reads a key set that is a file: if that fails at the start, the setting is wrong."""
    try:
        await keys.refresh()
    except Unavailable as error:
        raise SettingsError(f"{setting('jwks_location')}: {error}") from error
