"""What the SDK says by `logging`, in our log: without what it repeats of headers, and whatever it says."""

from __future__ import annotations

import logging

import pytest
from structlog.testing import capture_logs

from cluster_agent.monitoring.span_export import SdkLog


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        ("not sent: %s", (ValueError("secret"),), "not sent: ValueError"),
        # The type's name is no number.
        ("%d not sent", (ValueError("secret"),), "%d not sent"),
        ("sent to %s: %s", ("secret",), "sent to %s: %s"),
    ],
)
def test_what_the_sdk_says_is_logged_also_where_it_cannot_be_put_together(
    message: str, arguments: tuple[object, ...], said: str
) -> None:
    log = SdkLog(monotonic=lambda: 0.0)
    log.collected = None
    record = logging.LogRecord("opentelemetry", logging.WARNING, "", 0, message, arguments, None)
    with capture_logs() as logged:
        log.emit(record)
    assert [one["message"] for one in logged] == [said]
