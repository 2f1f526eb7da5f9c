"""How errors become answers: `{"error": {"reason", "message"}}`, never with a value that was sent in them,
and of few bytes, whatever was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from cluster_agent.api.contract import MEDIA_TYPE, RefusalAnswer, RefusalDetail
from cluster_agent.api.request_callers import address_of
from cluster_agent.audit.refusals import OTHER_PATH, Refusals
from cluster_agent.callers import Caller
from cluster_agent.errors import BadRequest, NotServed, Refusal, TooManyRequests, UnsupportedMediaType
from cluster_agent.monitoring.metrics import Metrics, route_of
from cluster_agent.rate_limits import RateLimits

_MOST_DETAILS = 5
_MOST_CHARACTERS = 1000
Note = Callable[[Request, Refusal], None]

_log = structlog.get_logger(__name__)


def answer_errors(app: FastAPI, metrics: Metrics, limits: RateLimits, refusals: Refusals) -> Note:
    """Makes `app` answer every refusal in the one form, counts it, and has it recorded. What is refused
    elsewhere can be given to the answer."""

    def note(request: Request, refusal: Refusal) -> None:
        request.state.refused = refusal.reason
        path = _path(request, refusal)
        metrics.refused(path, refusal)
        caller = _caller(request)
        refusals.add(
            path,
            refusal,
            caller="" if caller is None else str(caller.name),
            certificate="" if caller is None else caller.certificate_fingerprint,
            address=address_of(request),
        )

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        note(request, refusal)
        # Who is told to wait may ask again and again; that is counted, and need not fill the log.
        log = _log.debug if isinstance(refusal, TooManyRequests) else _log.warning
        caller = _caller(request)
        log(
            "refused",
            path=request.scope["path"],
            reason=refusal.reason,
            message=str(refusal),
            caller="" if caller is None else str(caller.name),
            address=address_of(request),
        )
        again = refusal.retry_after_seconds
        headers = None if again is None else {"Retry-After": str(again)}
        return _error(refusal.status, refusal.reason, str(refusal), headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # Only where and what: pydantic's own text repeats the input, and that holds tokens.
        errors = error.errors()
        if errors[0]["loc"][0] == "body" and not is_json(request):
            refusal: Refusal = UnsupportedMediaType(
                "UnsupportedMediaType", f"send JSON, with the header content-type: {MEDIA_TYPE}"
            )
        else:
            told = [f"{_field(one['loc'])}: {one['msg']}" for one in errors[:_MOST_DETAILS]]
            more = [f"and {len(errors) - len(told)} more"] if len(errors) > len(told) else []
            refusal = BadRequest("MalformedRequest", _printable("; ".join(told + more)))
        note(request, refusal)
        return _error(refusal.status, refusal.reason, str(refusal))

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code in (404, 405):  # no route was reached, which would have counted its caller
            try:
                limits.take_for_address(address_of(request))
            except TooManyRequests as beyond:
                return await refused(request, beyond)
        kind = BadRequest if error.status_code == 400 else NotServed
        reason = "MalformedRequest" if error.status_code == 400 else "NotServed"
        message = _printable(f"{request.method} {request.scope['path']}: {error.detail}")
        note(request, kind(reason, message))
        # Of 405, which methods there are.
        return _error(error.status_code, reason, message, error.headers)

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error_of_ours: Exception) -> JSONResponse:
        # The server that runs the application logs what it was.
        return _error(500, "Failed", "the cluster agent failed at this; its log says how")

    return note


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


def _path(request: Request, refusal: Refusal) -> str:
    """The route's, with its parameters' names: whoever asks chooses their values, and could choose ever new
    ones; as they could for what is not there, or does not get as far as a route."""
    return OTHER_PATH if isinstance(refusal, NotServed) else route_of(request.scope) or OTHER_PATH


def _error(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    refused = RefusalAnswer(error=RefusalDetail(reason=reason, message=_printable(message)))
    return JSONResponse(refused.model_dump(), status, headers)


def is_json(request: Request) -> bool:
    """Whether the body is said to be JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    main, _, more = kind.partition("/")
    # As FastAPI has it: what has more than one slash is no media type.
    return kind == MEDIA_TYPE or (main == "application" and more.endswith("+json") and "/" not in more)


def _printable(text: str) -> str:
    """Names of fields and paths are the caller's choice: half of a surrogate pair has no UTF-8, and a line
    break, or something that long, no place in a log."""
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text
    )
    return shown if len(shown) <= _MOST_CHARACTERS else shown[:_MOST_CHARACTERS] + "…"


def _field(location: tuple[int | str, ...]) -> str:
    """The field's path in the body; JSON that cannot be read has a byte's position instead."""
    parts = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(parts) or "body"
