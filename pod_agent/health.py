"""The routes for the startup probe and Prometheus: /healthz, /readyz, /metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from pod_agent.errors import HttpError
from pod_agent.http.exchange import Answer, Handler, Request, as_json, routed
from pod_agent.identity import CurrentIdentity
from pod_agent.metrics import Metrics
from service.exposition import CONTENT_TYPE, exposition
from service.program_families import program_families
from service.supervisor import Supervisor

_LONGEST_WAIT_SECONDS = 30


def health_handler(current: CurrentIdentity, metrics: Metrics, supervisor: Supervisor) -> Handler:
    """The handler: alive as long as it answers, ready while it has a valid blessing to serve and its
    background tasks work."""

    async def healthz(_request: Request) -> Answer:
        return as_json({"status": "ok"})

    async def readyz(request: Request) -> Answer:
        await _wait_for_identity(current, request.parameters.get("wait", "0"))
        identity = current.value
        if identity is None:
            return as_json(
                {
                    "ready": False,
                    "reason": "NotYetBlessed",
                    "waitsFor": metrics.beginning.waits_for(),
                    "lastFailure": metrics.last_failure,
                },
                503,
            )
        if problem := supervisor.problem():
            return as_json({"ready": False, "reason": problem}, 503)
        return as_json({"ready": True, "name": str(identity.name)})

    async def scrape(_request: Request) -> Answer:
        families = [*metrics.families(), *program_families("pod_agent", supervisor)]
        return Answer(kind=CONTENT_TYPE, content=exposition(families))

    return routed({"GET /healthz": healthz, "GET /readyz": readyz, "GET /metrics": scrape})


async def _wait_for_identity(current: CurrentIdentity, seconds: str) -> None:
    """Waits at most so many seconds."""
    if not seconds.isdecimal() or len(seconds) > 2 or int(seconds) > _LONGEST_WAIT_SECONDS:
        raise HttpError(400, "MalformedRequest", f"wait must be 0 to {_LONGEST_WAIT_SECONDS}, in seconds")
    with suppress(TimeoutError):
        async with asyncio.timeout(int(seconds)):
            await current.other_than(None)
