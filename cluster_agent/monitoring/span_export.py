"""Spans on their way out, in a thread of their own: a bounded queue, and a count of what did not arrive.

Nothing here makes a call wait. Where the receiver is slow or away, spans are dropped, never issuances.
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

_MOST_WAITING = 2048  # as the SDK has it
_SAY_AGAIN_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class CountedExporter(OTLPSpanExporter):
    """The SDK's exporter, whose results are counted."""

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
    """The SDK's processor, which gets no more spans than it takes, those under way to the receiver included.

    The SDK drops what is too much as well, but says so only in a log: its own counters are off unless
    OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED is set, need its metrics (35 modules and 1.2 MiB more), and bear
    names that its standard calls unstable. And it drops the span that waited longest, so that a caller with
    many requests would push out those of others; here the newest is dropped.
    https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/
    """

    def __init__(self, metrics: SpanMetrics) -> None:
        self._exporter = CountedExporter(metrics)
        super().__init__(self._exporter)
        self._metrics = metrics
        # Later than the SDK, which says what is wrong with it.
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
    """What the SDK has to say, which it does by `logging`: at the start collected, since a variable that it
    does not understand is an error, and later into our log, once a minute.

    It repeats headers in its messages, and they hold credentials. So of an exception only its type is said,
    and what the headers' parser says is replaced."""

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
    # Whatever goes wrong within an argument: it would end what the SDK was about. `handleError`, which is for
    # this, prints the arguments.
    except Exception:  # noqa: BLE001 - what it was about to say is said, without its arguments
        return str(record.msg)
