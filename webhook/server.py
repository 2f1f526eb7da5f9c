"""The HTTP edge: carries bytes to `admission`, and its answer back.

`POST /mutate` is for API servers, `/healthz` and `/readyz` for the kubelet, `/metrics` for Prometheus. There
are no other routes, and nothing that a client sends is kept: API servers do not authenticate to webhooks by
default, so any client may call, and a call must cost nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from service.bounded_log import BoundedLog
from webhook.admission import Admission, admit
from webhook.body import parse, read_body
from webhook.errors import BadRequestError
from webhook.metrics import Metrics
from webhook.policy import CLUSTER_NAMESPACES
from webhook.sidecar import Configuration

Background: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]
"""A context that runs beside the admissions. They are entered in order before the server listens, and left in
reverse order after it stopped. One that cannot start raises an error, and the program ends."""

ReadinessCheck: TypeAlias = Callable[[], str | None]
"""Returns why the server is not ready, or None when it is."""

# An API server gives a webhook call at most 30 seconds, and ours 5.
_BODY_SECONDS = 5.0

_log = structlog.stdlib.get_logger("webhook")
_bounded_log = BoundedLog(_log)


def create_app(
    configuration: Configuration,
    excluded_namespaces: frozenset[str] = CLUSTER_NAMESPACES,
    *,
    background: Sequence[Background] = (),
    readiness: Sequence[ReadinessCheck] = (),
    metrics: Metrics | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> FastAPI:
    """The ASGI application.

    Args:
        configuration: what is injected.
        excluded_namespaces: their Pods are left alone, whatever their labels are.
        background: runs as long as the server does.
        readiness: called by `/readyz`; one that returns a reason makes the answer 503.
        metrics: the content of `/metrics`; by default a new one.
        clock: a monotonic clock in seconds, to measure the time of an answer.
    """
    metrics = metrics or Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            for enter in background:
                await running.enter_async_context(enter())
            yield

    # Without the interactive documentation, which loads scripts from other hosts.
    app = FastAPI(title="vanadium webhook", lifespan=lifespan, openapi_url=None)
    app.state.metrics = metrics

    @app.post("/mutate")
    async def mutate(request: Request) -> Response:
        began = clock()
        try:
            document = parse(await read_body(request, _BODY_SECONDS))
            admission = admit(document, configuration, excluded_namespaces)
        except BadRequestError as error:
            metrics.answered(error.reason, False, clock() - began)
            reason = error.reason.value
            _bounded_log.warning(
                "bad request", kind=reason, reason=reason, status=error.status, message=str(error)
            )
            content = {"error": {"reason": error.reason.value, "message": str(error)}}
            return JSONResponse(content, error.status)
        # ASCII only: JSON allows half of a surrogate pair in a uid, and UTF-8 does not.
        answer = json.dumps(admission.answer, separators=(",", ":")).encode("ascii")
        seconds = clock() - began
        metrics.answered(admission.reason, admission.request.dry_run, seconds)
        _record(admission, seconds)
        return Response(answer, media_type="application/json")

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        problems = [problem for check in readiness if (problem := check()) is not None]
        if problems:
            return JSONResponse({"status": "not ready", "problems": problems}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def exposition() -> Response:
        return Response(metrics.exposition(), media_type=metrics.content_type)

    return app


def _record(admission: Admission, seconds: float) -> None:
    request = admission.request
    _log.info(
        "admission",
        uid=request.uid,
        namespace=request.namespace,
        name=request.name,
        generateName=admission.generate_name,
        reason=admission.reason.value,
        message=admission.message,
        allowed=admission.allowed,
        operations=admission.operations,
        dryRun=request.dry_run,
        milliseconds=round(seconds * 1000, 3),
    )
