"""How errors become answers: `{"error": {"reason", "message"}}`, never with what was sent in them."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from cluster_agent.audit.refusals import OTHER_PATH, Refusals
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, NotServed, Refusal, TooManyRequests
from cluster_agent.metrics import Metrics

Note = Callable[[Request, Refusal], None]

_log = structlog.get_logger(__name__)


def answer_errors(app: FastAPI, metrics: Metrics, refusals: Refusals) -> Note:
    """Makes `app` answer every refusal in the one form, counts it, and has it recorded. What is refused
    elsewhere can be given to the answer."""

    def note(request: Request, refusal: Refusal) -> None:
        request.state.refused = refusal.reason
        path = _path(request, refusal)
        metrics.refused(path, refusal)
        caller: Caller | None = getattr(request.state, "caller", None)
        refusals.add(
            path,
            refusal,
            caller="" if caller is None else str(caller.name),
            certificate="" if caller is None else caller.certificate_fingerprint,
            address=request.client.host if request.client else "",
        )

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        note(request, refusal)
        # Who is told to wait may ask again and again; that is counted, and need not fill the log.
        log = _log.debug if isinstance(refusal, TooManyRequests) else _log.warning
        log("refused", path=request.url.path, reason=refusal.reason, message=str(refusal))
        again = refusal.retry_after_seconds
        headers = None if again is None else {"Retry-After": str(again)}
        return _error(refusal.status, refusal.reason, str(refusal), headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # Only where and what: pydantic's own text repeats the input, and that holds tokens.
        details = "; ".join(f"{_field(one['loc'])}: {one['msg']}" for one in error.errors())
        note(request, BadRequest("MalformedRequest", details))
        return _error(400, "MalformedRequest", details)

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> JSONResponse:
        kind = BadRequest if error.status_code == 400 else NotServed
        reason = "MalformedRequest" if error.status_code == 400 else "NotServed"
        message = f"{request.method} {request.url.path}: {error.detail}"
        note(request, kind(reason, message))
        return _error(error.status_code, reason, message)

    return note


def _path(request: Request, refusal: Refusal) -> str:
    """The route's, with its parameters' names: whoever asks chooses their values, and could choose ever new
    ones; as they could for what is not there, or does not get as far as a route."""
    return OTHER_PATH if isinstance(refusal, NotServed) else route_of(request.scope) or OTHER_PATH


def route_of(scope: Scope) -> str | None:
    """The path of the route that a request reached, with its parameters' names; None when it reached none."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _error(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"reason": reason, "message": message}}, status, headers)


def _field(location: tuple[int | str, ...]) -> str:
    """The field's path in the body; JSON that cannot be read has a byte's position instead."""
    parts = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(parts) or "body"
