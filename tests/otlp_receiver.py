"""A receiver of traces on loopback: OTLP over HTTP, as a collector speaks it, its messages decoded.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.waiting import wait_for


@dataclass
class Received:
    """One span."""

    span: Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def attributes(self) -> dict[str, Any]:
        return _values(self.span.attributes)


@dataclass
class Receiver:
    """What arrived; with `answers` cleared, it takes requests and says nothing to them."""

    port: int
    bodies: list[bytes] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def spans(self) -> list[Received]:
        found = []
        for body in list(self.bodies):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(of_resource.resource.attributes)
                found += [
                    Received(span, resource) for scope in of_resource.scope_spans for span in scope.spans
                ]
        return found

    def wait_for(self, wanted: Callable[[Received], bool]) -> Received:
        """The first span that is wanted, as soon as it is there."""

        def look() -> Received | None:
            return next((one for one in self.spans if wanted(one)), None)

        found = wait_for("a span", look, story=lambda: str([one.name for one in self.spans]))
        assert found is not None
        return found

    def children(self, parent: Received) -> list[Received]:
        """Those of the request's stages, in their order; a request's own span is sent after them."""
        found = [one for one in self.spans if one.span.parent_span_id == parent.span.span_id]
        return sorted(found, key=lambda one: one.span.start_time_unix_nano)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.answers.wait()
            receiver.bodies.append(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: object) -> None:
            """Not among the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    receiver.answers.set()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _values(attributes: Any) -> dict[str, Any]:
    def value(one: KeyValue) -> Any:
        return getattr(one.value, one.value.WhichOneof("value") or "string_value")

    return {one.key: value(one) for one in attributes}
