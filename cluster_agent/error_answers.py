"""How errors become answers: `{"error": {"reason", "message"}}`, never with what was sent in them."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cluster_agent.errors import Refusal, TooManyRequests
from cluster_agent.metrics import Metrics

_log = structlog.get_logger(__name__)


def answer_errors(app: FastAPI, metrics: Metrics) -> None:
    """Makes `app` answer every refusal in the one form, and counts it."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        metrics.refused(request.url.path, refusal.reason)
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
        metrics.refused(request.url.path, "MalformedRequest")
        return _error(400, "MalformedRequest", details)

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> JSONResponse:
        reason = "MalformedRequest" if error.status_code == 400 else "NotServed"
        return _error(error.status_code, reason, f"{request.method} {request.url.path}: {error.detail}")


def _error(status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"reason": reason, "message": message}}, status, headers)


def _field(location: tuple[int | str, ...]) -> str:
    """The field's path in the body; JSON that cannot be read has a byte's position instead."""
    parts = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(parts) or "body"
