"""The sources: what they keep when a read fails, and how long they keep a connection."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from tests.clock import Clock
from vkube.dashboard.sources import Source
from vkube.errors import UnreachableError

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Remote:
    """Answers with what the test sets; counts connections."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.answer: str | Exception = "first"
        self.seconds = 0.0
        self.source: Source[str, int] = Source(
            self.connect, self.look, seconds=3.0, clock=lambda: self.seconds, now=Clock()
        )

    def connect(self, stack: ExitStack) -> int:
        self.opened += 1
        stack.callback(lambda: setattr(self, "closed", self.closed + 1))
        return self.opened

    def look(self, connection: int, now: datetime) -> str:
        self.seconds += 0.1
        if isinstance(self.answer, Exception):
            raise self.answer
        return f"{self.answer} by {connection}"


def test_a_connection_is_kept_for_some_minutes() -> None:
    remote = Remote()
    for _ in range(3):
        assert remote.source.read() == 3.0
    assert remote.source.reading.value == "first by 1"
    remote.seconds += 301
    remote.source.read()
    assert (remote.source.reading.value, remote.closed) == ("first by 2", 1)
    remote.source.close()
    assert remote.closed == 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnreachableError("look at --context"), "look at --context"),
        (KeyError("notAfter"), "an error in vkube itself: KeyError: 'notAfter'"),
    ],
)
def test_a_failure_keeps_what_was_read_and_makes_a_new_connection(error: Exception, told: str) -> None:
    remote = Remote()
    remote.source.read()
    read_at = remote.source.reading.read_at
    remote.answer = error
    remote.source.read()
    failed = remote.source.reading
    assert (failed.value, failed.read_at, failed.error) == ("first by 1", read_at, told)
    remote.answer = "second"
    remote.source.read()
    assert (remote.source.reading.value, remote.source.reading.error) == ("second by 2", None)


def test_a_source_that_is_slow_is_asked_less_often() -> None:
    remote = Remote()

    def slowly(_: int, __: datetime) -> str:
        remote.seconds += 4
        return ""

    source: Source[str, int] = Source(remote.connect, slowly, seconds=3.0, clock=lambda: remote.seconds)
    assert source.read() == 40.0
