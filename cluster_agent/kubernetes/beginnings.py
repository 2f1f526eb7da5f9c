"""Events about how a Pod came to its first identity: the time of each step, as its pod agent states it, or as
the cluster agent and the API server know it of a Pod with a volume.

The pod agent has no rights at the API server. What it states is believed for the Event on its own Pod only:
which Pod that is, its certificate proves.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import structlog

from cluster_agent.fair_queue import FairQueue
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi
from cluster_agent.kubernetes.events import core_event
from cluster_agent.model import Application, Issuance

Outcome = Literal["written", "failed", "left-out"]
_log = structlog.get_logger(__name__)
_MOST_WAITING = 1000
_MOST_OF_ROUND = 10
_WRITING_SECONDS = 10
# A container that restarts again and again has one Event in this time.
_POD_SECONDS = 300.0
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class Begun:
    """A Pod, and when it came to each step, in a sentence."""

    application: Application
    pod_name: str
    pod_uid: str
    message: str

    @classmethod
    def told(cls, application: Application, replica: Issuance, milliseconds: Mapping[str, int]) -> Begun:
        """As its pod agent told it: in how many milliseconds it came to each step."""
        steps = ", ".join(f"{step} {count} ms" for step, count in milliseconds.items())
        message = f"First identity, after the start of the pod agent: {steps}"
        return cls(application, replica.pod_name, replica.pod_uid, message)


class Outcomes(Protocol):
    """Counts Events by what became of them."""

    def told(self, outcome: Outcome) -> None: ...


class BeginningEvents:
    """Writes a Normal Event on each Pod, some a second, in turn for all namespaces.

    The call that brings the steps does not wait for it. When too many wait, the namespace that has most of
    them goes without.
    """

    def __init__(
        self,
        api: KubernetesApi,
        outcomes: Outcomes,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._api = api
        self._outcomes = outcomes
        self._now = now
        self._monotonic = monotonic
        self._waiting: FairQueue[Begun] = FairQueue(_MOST_WAITING)
        self._noted: OrderedDict[str, float] = OrderedDict()

    def note(self, begun: Begun) -> None:
        """Notes a first identity. It never waits, and never fails."""
        now = self._monotonic()
        while self._noted and next(iter(self._noted.values())) <= now - _POD_SECONDS:
            self._noted.popitem(last=False)
        if begun.pod_uid in self._noted:
            self._outcomes.told("left-out")
            return
        if len(self._noted) >= _MOST_REMEMBERED:
            self._noted.popitem(last=False)
        self._noted[begun.pod_uid] = now
        tenant = (begun.application.namespace, begun.application.service_account)
        if self._waiting.put(begun, tenant) is not None:
            self._outcomes.told("left-out")

    async def write(self) -> None:
        """Writes the next ones; failures are logged, and their Events are not tried again."""
        for _ in range(_MOST_OF_ROUND):
            begun = self._waiting.take()
            if begun is None:
                return
            self._outcomes.told("written" if await self._is_written(begun) else "failed")

    async def _is_written(self, begun: Begun) -> bool:
        namespace = begun.application.namespace
        try:
            async with asyncio.timeout(_WRITING_SECONDS):
                await self._api.create(f"/api/v1/namespaces/{namespace}/events", event(begun, self._now()))
        except (ApiCallError, TimeoutError) as error:
            _log.warning("event not written", namespace=namespace, error=f"{type(error).__name__}: {error}")
            return False
        return True


def event(begun: Begun, now: datetime) -> dict[str, Any]:
    """The core/v1 Event for a first identity."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": begun.pod_name,
        "namespace": begun.application.namespace,
        "uid": begun.pod_uid,
    }
    return core_event(pod, "vanadium-identity.", "FirstIdentity", begun.message, now, "Normal")
