"""The answers to errors: `{"error": {"reason", "message"}}`, always short, and never with a value that the
client sent."""

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
from service.bounded_log import BoundedLog

_MOST_DETAILS = 5
_MOST_CHARACTERS = 1000
Answering = Callable[[Request, Refusal], JSONResponse]

_log = structlog.get_logger(__name__)


def answer_errors(app: FastAPI, metrics: Metrics, limits: RateLimits, refusals: Refusals) -> Answering:
    """Makes `app` answer, count and record every refusal in one way. The returned function does the same for
    refusals from elsewhere."""

    refusals_log = BoundedLog(_log)

    def answer(request: Request, refusal: Refusal) -> JSONResponse:
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
        again = refusal.retry_after_seconds
        headers = None if again is None else {"Retry-After": str(again)}
        return _error(refusal.status, refusal.reason, str(refusal), headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        # Counted and recorded first: a log that cannot be written must not hide a refusal.
        answered = answer(request, refusal)
        caller = _caller(request)
        line = {
            "path": request.scope["path"],
            "reason": refusal.reason,
            "message": str(refusal),
            "caller": "" if caller is None else str(caller.name),
            "address": address_of(request),
        }
        # A client that is told to wait may call again and again; that is counted, and need not fill the log.
        if isinstance(refusal, TooManyRequests):
            _log.debug("refused", **line)
        else:
            refusals_log.warning("refused", kind=f"{refusal.reason} {line['caller']}", **line)
        return answered

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        # Only the place and the kind: pydantic's own text repeats the input, which contains tokens.
        errors = error.errors()
        if errors[0]["loc"][0] == "body" and not is_json(request):
            refusal: Refusal = UnsupportedMediaType(
                "UnsupportedMediaType", f"send JSON, with the header content-type: {MEDIA_TYPE}"
            )
        else:
            told = [f"{_field(one['loc'])}: {one['msg']}" for one in errors[:_MOST_DETAILS]]
            more = [f"and {len(errors) - len(told)} more"] if len(errors) > len(told) else []
            refusal = BadRequest("MalformedRequest", _printable("; ".join(told + more)))
        return answer(request, refusal)

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
        answered = answer(request, kind(reason, message))
        answered.status_code = error.status_code
        # For 405, the header that lists the allowed methods.
        answered.headers.update(error.headers or {})
        return answered

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error_of_ours: Exception) -> JSONResponse:
        # The server that runs the application logs what it was.
        return _error(500, "Failed", "the cluster agent failed at this; its log says how")

    return answer


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


def _path(request: Request, refusal: Refusal) -> str:
    """The route's path, with the names of its parameters. A client chooses their values, and the whole path
    of a request that reaches no route, and could invent any number of them."""
    return OTHER_PATH if isinstance(refusal, NotServed) else route_of(request.scope) or OTHER_PATH


def _error(status: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    refused = RefusalAnswer(error=RefusalDetail(reason=reason, message=_printable(message)))
    return JSONResponse(refused.model_dump(), status, headers)


def is_json(request: Request) -> bool:
    """Whether the body is declared to be JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    main, _, more = kind.partition("/")
    # As in FastAPI: a text with more than one slash is not a media type.
    return kind == MEDIA_TYPE or (main == "application" and more.endswith("+json") and "/" not in more)


def _printable(text: str) -> str:
    """Removes what does not belong into a log: half of a surrogate pair, which has no UTF-8, a line break,
    and a long text. Names of fields and paths are chosen by clients."""
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in text
    )
    return shown if len(shown) <= _MOST_CHARACTERS else shown[:_MOST_CHARACTERS] + "…"


def _field(location: tuple[int | str, ...]) -> str:
    """The field's path in the body; for JSON that cannot be parsed, a byte position."""
    parts = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(parts) or "body"
