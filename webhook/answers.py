"""The answers to bodies of `POST /mutate`, with their metrics and their lines of the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NamedTuple

import structlog

from service.bounded_log import BoundedLog
from webhook.admission import Admission, admit
from webhook.body import parse
from webhook.errors import BadRequestError
from webhook.lines import Lines
from webhook.metrics import Metrics
from webhook.namespace_defaults import Defaults
from webhook.patch import encoded_string
from webhook.sidecar import Configuration
from webhook.volume_support import NOT_LOOKED, VolumeSupport

_INTERNAL_ERROR = 500
_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
# Of a name in the log: Kubernetes has no longer ones.
_LONGEST_NAME = 253
_JSON = {True: "true", False: "false"}

_bounded_log = BoundedLog(structlog.stdlib.get_logger("webhook"))


class Answer(NamedTuple):
    status: int
    content: bytes

    def encoded(self, lines: bytes) -> bytes:
        """The whole answer in HTTP/1.1; `lines` are those of its head but for the content's length."""
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (
            _STATUS_LINES[self.status],
            lines,
            len(self.content),
            self.content,
        )


class Answers:
    """Answers bodies of reviews, one at a time."""

    def __init__(
        self,
        defaults: Configuration | Callable[[str], Defaults],
        excluded_namespaces: frozenset[str],
        metrics: Metrics,
        lines: Lines,
        support: Callable[[], VolumeSupport] = lambda: NOT_LOOKED,
        notice: Callable[[Admission], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`defaults` are those of `admit`. `support` returns what is known of the cluster's kubelets, and
        calls nobody. `notice` is told of each admission that an API server asked for. `clock` is monotonic,
        in seconds, and measures the time of an answer."""
        self._defaults = defaults
        self._excluded_namespaces = excluded_namespaces
        self._metrics = metrics
        self._lines = lines
        self._notice = notice
        self._support = support
        self.clock = clock

    def to(self, body: bytes | bytearray, began: float, *, is_known: bool = False) -> Answer:
        """The answer to `body`, whose request began at that time of the clock. `is_known`: the caller is
        known to be an API server."""
        try:
            admission = admit(parse(body), self._defaults, self._excluded_namespaces, self._support())
        except BadRequestError as error:
            return self.refusal(error, began)
        # Under another name: compiled, a name has one type.
        except Exception as unforeseen:  # noqa: BLE001 - it must not end the connections of others
            with suppress(OSError):
                _bounded_log.error("admission failed", exc_info=unforeseen)
            return Answer(_INTERNAL_ERROR, b'{"error":{"reason":"InternalError","message":"see the log"}}')
        seconds = self.clock() - began
        self._metrics.answered(admission.reason, admission.request.dry_run, seconds)
        if is_known:  # all others could have Events written about Pods that nobody creates
            self._notice(admission)
        if self._lines.are_written:
            self._record(admission, seconds)
        return Answer(200, admission.body)

    def refusal(self, error: BadRequestError, began: float) -> Answer:
        """The answer to a request that is no review."""
        self._metrics.answered(error.reason, False, self.clock() - began)
        with suppress(OSError):  # a log that cannot be written must cost nobody an answer
            reason = error.reason.value
            _bounded_log.warning(
                "bad request", kind=reason, reason=reason, status=error.status, message=str(error)
            )
        content = {"error": {"reason": error.reason.value, "message": str(error)}}
        return Answer(error.status, json.dumps(content, separators=(",", ":")).encode("ascii"))

    def _record(self, admission: Admission, seconds: float) -> None:
        request = admission.request
        self._lines.add(
            f'"event":"admission","uid":{encoded_string(request.uid)},'
            f'"namespace":{encoded_string(request.namespace[:_LONGEST_NAME])},'
            f'"name":{encoded_string(request.name[:_LONGEST_NAME])},'
            f'"generateName":{encoded_string(admission.generate_name[:_LONGEST_NAME])},'
            f'"reason":"{admission.reason.value}","message":{encoded_string(admission.message)},'
            f'"allowed":{_JSON[admission.allowed]},"operations":{admission.operations},'
            f'"dryRun":{_JSON[request.dry_run]},"milliseconds":{seconds * 1000:.3f}'
        )
