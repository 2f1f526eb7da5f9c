"""Traces of the cluster agent's work, for an OpenTelemetry receiver. Imported only when traces are wanted.

There is a span for each request within its rate, and for a SeekBlessings call one for each stage. None of
them contains a token, a key, a body, a query or headers, nor a path that is not one of our routes.

FastAPI's own tracing is off: it makes a client's span the parent, and records paths, queries and the Host
header unchanged. https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server-span
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blessings import Name
from cluster_agent.errors import Refusal
from cluster_agent.issuing.stages import IssuanceWatch, Stage
from cluster_agent.model import Application
from cluster_agent.monitoring.metrics import RESULTS, SpanMetrics, route_of
from cluster_agent.monitoring.span_export import BoundedSpans, SdkLog
from cluster_agent.rate_limits import BEYOND_RATE
from service.errors import SettingsError

# The time to send the remaining spans, after the last request was answered.
FLUSH_SECONDS = 5.0
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"))
_NO_PARENT = Context()

_log = structlog.get_logger(__name__)


class Tracing:
    """Tracing as configured by the SDK's variables. Raises SettingsError for a wrong one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sdk_log = SdkLog()
        self._sdk_log.attach()
        try:
            self._spans = BoundedSpans(SpanMetrics(registry))
            self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        except (ValueError, OSError) as error:
            raise SettingsError(f"OTEL_…: {error}") from error
        if wrong := self._sdk_log.collected:
            raise SettingsError(f"OTEL_…: {'; '.join(wrong)}")
        self._sdk_log.collected = None
        self._provider.add_span_processor(self._spans)
        self._tracer = self._provider.get_tracer("cluster_agent")

    def requests(self, app: ASGIApp) -> ASGIApp:
        """Wraps `app`: each request gets a span, unless it exceeds a rate."""
        return _TracedRequests(app, self._tracer)

    def issuances(self, watch: IssuanceWatch) -> IssuanceWatch:
        """Wraps `watch`: each stage gets a span."""
        return _TracedIssuances(watch, self._tracer)

    async def close(self) -> None:
        """Sends the waiting spans, for at most FLUSH_SECONDS; a receiver that hangs does not delay the
        end."""
        flushed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def flush() -> None:
            self._provider.shutdown()
            if not self._sdk_log.silent:
                loop.call_soon_threadsafe(flushed.set)

        # Not in the event loop's executor, because the loop would wait for it at its end.
        threading.Thread(target=flush, daemon=True, name="traces-flush").start()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await flushed.wait()
        except TimeoutError:
            self._sdk_log.silent = True
            _log.warning("traces not sent", spans=self._spans.waiting, seconds=FLUSH_SECONDS)


class _TracedRequests:
    def __init__(self, app: ASGIApp, tracer: trace.Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        attributes: dict[str, Any] = {
            "http.request.method": method,
            "url.scheme": scope["scheme"],
            "network.protocol.version": scope["http_version"],
        }
        if scope.get("client"):
            attributes["client.address"] = scope["client"][0]
        span = self._tracer.start_span(
            method, context=_NO_PARENT, kind=SpanKind.SERVER, attributes=attributes, links=_links(scope)
        )
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            try:
                await self._app(scope, receive, noting)
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise
            finally:
                if span.is_recording():
                    _conclude(span, method, scope, status)
                # A span that does not end is not sent: a client that exceeds its rate pushes out no other
                # client's spans.
                if scope.get("state", {}).get("refused") != BEYOND_RATE:
                    span.end()


def _conclude(span: trace.Span, method: str, scope: Scope, status: int) -> None:
    route = route_of(scope)
    if route is None:
        # A client that asks for a path that does not exist could have written anything into it.
        span.set_attribute("url.path", "REDACTED")
    else:
        span.update_name(f"{method if method != '_OTHER' else 'HTTP'} {route}")
        span.set_attributes({"http.route": route, "url.path": route})
    state: dict[str, Any] = scope.get("state", {})
    if (caller := state.get("caller")) is not None:
        span.set_attribute("vanadium.caller", str(caller.name))
    if (reason := state.get("refused")) is not None:
        span.set_attributes(
            {"vanadium.result": RESULTS.get(status, "refused"), "vanadium.refusal.reason": reason}
        )
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", reason or str(status))
        span.set_status(StatusCode.ERROR)


class _TracedIssuances:
    def __init__(self, watch: IssuanceWatch, tracer: trace.Tracer) -> None:
        self._watch = watch
        self._tracer = tracer

    def stage(self, stage: Stage) -> AbstractContextManager[object]:
        # When one request in a hundred is sampled, most are not recorded; spans that record nothing cost time
        # too.
        recorded = trace.get_current_span().is_recording()
        return self._traced(stage) if recorded else self._watch.stage(stage)

    @contextmanager
    def _traced(self, stage: Stage) -> Iterator[None]:
        with (
            self._tracer.start_as_current_span(
                stage, record_exception=False, set_status_on_exception=False
            ) as span,
            self._watch.stage(stage),
        ):
            try:
                yield
            except Refusal as refusal:
                span.set_attribute("vanadium.refusal.reason", refusal.reason)
                if refusal.status >= 500:
                    span.set_attribute("error.type", refusal.reason)
                    span.set_status(StatusCode.ERROR)
                raise
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                raise

    def is_for(self, application: Application) -> None:
        trace.get_current_span().set_attribute(
            "vanadium.application", f"{application.namespace}/{application.service_account}"
        )
        self._watch.is_for(application)

    def issued(self, name: Name) -> None:
        trace.get_current_span().set_attributes({"vanadium.result": "issued", "vanadium.name": str(name)})
        self._watch.issued(name)


def _links(scope: Scope) -> list[Link]:
    """A link to the span of the client that sent the request.

    It is not the parent: a client could then add spans to any trace, and decide which of its requests are
    recorded, for example leave out the refused ones. Vendor data of the client (tracestate, baggage) is not
    read.
    """
    given = [value for name, value in _headers(scope) if name == b"traceparent"]
    if len(given) != 1:
        return []
    carrier = {"traceparent": given[0].decode("latin-1")}
    context = TraceContextTextMapPropagator().extract(carrier, _NO_PARENT)
    caller = trace.get_current_span(context).get_span_context()
    return [Link(caller)] if caller.is_valid else []


def _headers(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return headers


def _resource() -> Resource:
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "vanadium-cluster-agent"}))
    return resource
