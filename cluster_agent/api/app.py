"""The HTTP application of the cluster agent: JSON over TLS, whose client certificate identifies the
caller."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Scope

from cluster_agent.api.blessings import SeekBlessingsRequest
from cluster_agent.api.body_limit import BodyLimit
from cluster_agent.api.contract import MEDIA_TYPE, described, operation_id
from cluster_agent.api.direct_calls import DirectCalls
from cluster_agent.api.error_answers import answer_errors
from cluster_agent.api.request_callers import CallerFirst, RequestCallers, anybody
from cluster_agent.audit.refusals import Refusals
from cluster_agent.errors import BodyTooLarge, NotAuthenticated, Refusal, TooManyRequests
from cluster_agent.monitoring.metrics import SEEK_BLESSINGS, Metrics

OPENAPI = "/openapi.json"
MAX_BODY_BYTES = 64 * 1024
# FastAPI's own telemetry would record clients' input, such as paths and queries; ours is in tracing.py.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    callers: RequestCallers, metrics: Metrics, refusals: Refusals, routers: Sequence[APIRouter]
) -> FastAPI:
    """The application with these routes. It answers a refusal with `{"error": {"reason", "message"}}`."""
    app = FastAPI(
        title="Vanadium cluster agent",
        description="Names replicas, and revokes their names. JSON over TLS 1.3; the client certificate of "
        "the connection identifies the caller.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry=_NO_TELEMETRY,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.router.route_class = CallerFirst
    app.state.callers = callers
    app.state.answer = answer_errors(app, metrics, callers.limits, refusals)

    @app.get(OPENAPI, include_in_schema=False, dependencies=[Depends(anybody)])
    async def openapi() -> Response:
        return Response(described(app), media_type=MEDIA_TYPE)

    for router in routers:
        app.include_router(router)
    everywhere = [route for router in routers for route in router.routes]
    (app.state.direct,) = (
        one for one in everywhere if isinstance(one, APIRoute) and one.path == SEEK_BLESSINGS
    )
    return app


def served(app: FastAPI) -> ASGIApp:
    """`app` as it is served: no body is longer than MAX_BODY_BYTES."""
    callers: RequestCallers = app.state.callers

    def too_large(scope: Scope) -> Response:
        request = Request(scope)
        refusal: Refusal = BodyTooLarge("BodyTooLarge", f"a request may have {MAX_BODY_BYTES} bytes")
        try:
            callers.of(request)
        except TooManyRequests as beyond:
            refusal = beyond
        except NotAuthenticated:
            pass  # counted by its address
        answer: Response = app.state.answer(request, refusal)
        return answer

    direct = DirectCalls(app, app.state.direct, SeekBlessingsRequest)
    return BodyLimit(direct, max_bytes=MAX_BODY_BYTES, refused=too_large)
