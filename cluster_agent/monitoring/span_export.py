"""The export of spans, in a separate thread: a bounded queue, and a count of the spans that did not arrive.

No call waits for it. When the receiver is slow or away, spans are dropped, never issuances.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from cluster_agent.monitoring.metrics import SpanMetrics

_MOST_WAITING = 2048  # the SDK's default
_SAY_AGAIN_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class CountedExporter(OTLPSpanExporter):
    """The SDK's exporter, with its results counted."""

    def __init__(self, metrics: SpanMetrics) -> None:
        super().__init__()
        self._metrics_of_spans = metrics
        self.done = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = super().export(spans)
        finally:
            self.done += len(spans)
            counted = "exported" if result is SpanExportResult.SUCCESS else "failed"
            self._metrics_of_spans.count(counted, len(spans))
        return result


class BoundedSpans(BatchSpanProcessor):
    """The SDK's processor, which is given no more spans than it can hold, including those being sent.

    The SDK also drops spans above that limit, but reports it only in a log. Its own counters are off unless
    OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED is set, need its metrics (35 more modules and 1.2 MiB), and have
    names that its standard calls unstable. It also drops the span that has waited longest, so that a client
    with many requests would push out the spans of others; here the newest is dropped.
    https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/
    """

    def __init__(self, metrics: SpanMetrics) -> None:
        self._exporter = CountedExporter(metrics)
        super().__init__(self._exporter)
        self._metrics = metrics
        # After the SDK, which reports a wrong value of the variable.
        self._most = int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) or _MOST_WAITING)
        self._taken = 0

    @property
    def waiting(self) -> int:
        return self._taken - self._exporter.done

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self.waiting >= self._most:
            self._metrics.count("dropped")
            return
        self._taken += 1
        super().on_end(span)


class SdkLog(logging.Handler):
    """Handles what the SDK logs with `logging`.

    At the start the lines are collected, because a variable that the SDK does not understand is an error;
    later they go into our log, once a minute. The SDK repeats headers in its messages, and headers contain
    credentials. So of an exception only the type is logged, and messages of the parser of headers are
    replaced.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self.collected: list[str] | None = []
        self._monotonic = monotonic
        self._said_at = -_SAY_AGAIN_SECONDS
        self.silent = False

    def attach(self) -> None:
        logger = logging.getLogger("opentelemetry")
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        if self.collected is not None:
            self.collected.append(_text(record))
        elif not self.silent and self._monotonic() - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = self._monotonic()
            _log.warning("traces", message=_text(record))


def _text(record: logging.LogRecord) -> str:
    if record.name == "opentelemetry.util.re":
        return "OTEL_EXPORTER_OTLP_HEADERS is not a list as name=value,name=value, URL-encoded"
    arguments = record.args if isinstance(record.args, tuple) else ()
    safe = tuple(type(one).__name__ if isinstance(one, BaseException) else one for one in arguments)
    try:
        return str(record.msg) % safe if safe else str(record.msg)
    # An argument's own code may fail in any way, and the exception would end what the SDK was doing.
    # `handleError` is meant for this, but prints the arguments.
    except Exception:  # noqa: BLE001 - the message is logged without its arguments
        return str(record.msg)
