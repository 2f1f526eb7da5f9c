"""What clients cause to be logged, at a bounded rate."""

from __future__ import annotations

import logging
import tracemalloc

import structlog
from structlog.testing import capture_logs

from service.bounded_log import AT_ONCE, BoundedLines, BoundedLog, LineRate


class Seconds:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_some_lines_at_once_then_a_few_a_second_and_the_next_states_what_was_left_out() -> None:
    seconds = Seconds()
    rate = LineRate(at_once=3, per_second=0.5, monotonic=seconds)
    assert [rate.take("kind") for _ in range(5)] == [0, 0, 0, None, None]
    seconds.now += 2
    assert [rate.take("kind") for _ in range(2)] == [2, None]
    seconds.now += 60
    assert [rate.take("kind") for _ in range(4)] == [1, 0, 0, None]


def test_lines_of_one_kind_leave_those_of_another() -> None:
    rate = LineRate(at_once=1, monotonic=Seconds())
    assert [rate.take("flood"), rate.take("flood"), rate.take("other")] == [0, None, 0]


def test_attack_kinds_without_end_are_one_and_cost_no_memory() -> None:
    seconds = Seconds()
    rate = LineRate(at_once=2, monotonic=seconds)
    written = [rate.take(f"kind {number}") for number in range(10_000)].count(0)
    assert written < 300
    seconds.now += 60  # what is full again is forgotten
    assert rate.take("another") == 0


def test_attack_kinds_of_which_lines_were_left_out_are_forgotten_too() -> None:
    tracemalloc.start()
    try:
        seconds = Seconds()
        rate = LineRate(at_once=1, per_second=1000.0, monotonic=seconds)
        for number in range(1000):
            kind = f"kind {number} ".ljust(10_000)
            assert rate.take(kind) == 0
            assert rate.take(kind) is None
            seconds.now += 1
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_line_of_ours_states_how_many_of_its_kind_were_left_out() -> None:
    seconds = Seconds()
    log = BoundedLog(structlog.get_logger(), LineRate(at_once=1, monotonic=seconds))
    with capture_logs() as lines:
        for kind in ("one", "one", "two"):
            log.warning("refused", kind=kind, reason=kind)
        seconds.now += 1
        log.warning("refused", kind="one", reason="one")
    assert [(line["reason"], line.get("leftOut")) for line in lines] == [
        ("one", None),
        ("two", None),
        ("one", 1),
    ]


def test_a_line_of_a_library_is_bounded_by_its_text_before_values() -> None:
    bounded = BoundedLines(LineRate(monotonic=Seconds()))

    def written(text: str, value: int) -> bool:
        return bool(
            bounded.filter(logging.LogRecord("library", logging.WARNING, "", 1, text, (value,), None))
        )

    assert sum(written("Invalid request %d", number) for number in range(1000)) == AT_ONCE
    assert written("something else %d", 1)
