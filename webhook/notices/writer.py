"""The Events, created beside the admissions, and the door by which the admissions tell of a Pod."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import structlog

from certs.api_server import API_SERVER_ERRORS, BoundedApiClient
from service.supervisor import BackOff, Task
from service.threads import in_daemon_thread
from webhook.admission import Admission
from webhook.kubernetes_clients import description
from webhook.metrics import NoticeMetrics
from webhook.notices.ledger import Key, Ledger, Notice
from webhook.notices.subject import Subject, subject_of
from webhook.reasons import INJECTIONS, REFUSALS, SKIPS

_EVERY_SECONDS = 2.0
# What Kubernetes accepts.
_LONGEST_MESSAGE = 1024
_log = structlog.stdlib.get_logger("webhook.notices")


class Notices:
    """The Events that this program writes about Pods."""

    def __init__(
        self,
        metrics: NoticeMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._is_written = False

    def admitted(self, admission: Admission) -> None:
        """Notes an admission that left its Pod without an identity, on purpose or refused; or, where a
        delivery was stated, which one the Pod got, and why. It calls nobody, and a dry run has no effect."""
        outcome = _outcome(admission)
        request = admission.request
        if not outcome or request.dry_run or not self._is_written:
            return
        subject = subject_of(request.object, request.name)
        self.note(
            request.namespace,
            subject,
            admission.reason.value,
            f"{outcome}: {admission.message}",
            is_warning=not admission.allowed or admission.warns,
        )

    def note(self, namespace: str, subject: Subject, reason: str, message: str, *, is_warning: bool) -> None:
        """Notes that something happened to `subject`, in that namespace."""
        with self._lock:
            has_room = self._ledger.note(
                namespace, Key(subject, reason), message, is_warning=is_warning, now=self._clock()
            )
        if not has_room:
            self._metrics.event("Dropped")

    def task(self, api: BoundedApiClient) -> Task:
        """Writes what is due."""
        self._is_written = True

        async def write() -> None:
            with self._lock:
                due = self._ledger.due(self._clock())
            if due:
                await in_daemon_thread("events", lambda: self._write(api, due))

        return Task(
            "events",
            write,
            period=_EVERY_SECONDS,
            failure="events not written",
            expected=API_SERVER_ERRORS,
            back_off=BackOff(1.0, 60.0),
        )

    def _write(self, api: BoundedApiClient, due: list[Notice]) -> None:
        """An Event that is not accepted is lost, and the next one tried."""
        for notice in due:
            try:
                path = f"/api/v1/namespaces/{quote(notice.namespace, safe='')}/events"
                api.json("POST", path, body=event(notice, self._now()))
            except API_SERVER_ERRORS as error:
                self._metrics.event("Failed")
                _log.warning("event not written", namespace=notice.namespace, error=description(error))
            else:
                self._metrics.event("Written")


def _outcome(admission: Admission) -> str:
    """In a word or two; empty for an admission that is not told of."""
    if admission.reason in REFUSALS:
        return "Refused"
    if admission.reason in SKIPS:
        return "No identity"
    return "Identity" if admission.message and admission.reason in INJECTIONS else ""


def event(notice: Notice, now: datetime) -> dict[str, Any]:
    """The core/v1 Event."""
    written = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    subject = notice.subject
    involved = {
        "apiVersion": subject.api_version,
        "kind": subject.kind,
        "name": subject.name,
        "namespace": notice.namespace,
        **({"uid": subject.uid} if subject.uid else {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"vanadium.{secrets.token_hex(8)}", "namespace": notice.namespace},
        "involvedObject": involved,
        "type": "Warning" if notice.is_warning else "Normal",
        "reason": notice.reason,
        "message": notice.message.encode("utf-8", "replace")[:_LONGEST_MESSAGE].decode(errors="ignore"),
        "source": {"component": "vanadium-webhook"},
        "firstTimestamp": written,
        "lastTimestamp": written,
        "count": notice.times,
    }
