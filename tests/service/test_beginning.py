"""The times of a first identity, as a header."""

from __future__ import annotations

import pytest

from service.beginning import MOST_MILLISECONDS, STEPS, read, written

TIMES = dict(zip(STEPS, (212, 215, 215, 260, 330, 331), strict=True))


def test_what_is_written_is_read() -> None:
    assert written(TIMES) == "212,215,215,260,330,331"
    assert read("212,215,215,260,330,331") == TIMES


def test_nothing_is_written_before_the_last_step() -> None:
    assert written(dict.fromkeys(STEPS[:-1], 1)) is None


def test_a_pod_that_waited_for_a_week_tells_of_a_day() -> None:
    waited = written(TIMES | {"issued": 7 * MOST_MILLISECONDS, "served": 7 * MOST_MILLISECONDS})
    assert waited is not None
    assert read(waited) == TIMES | {"issued": MOST_MILLISECONDS, "served": MOST_MILLISECONDS}


@pytest.mark.parametrize(
    "hostile",
    [
        "", "1", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,", "-1,2,3,4,5,6", "1,2,3,4,5,6.5", "1,2,3,4,5,1e3",
        "6,5,4,3,2,1", f"1,2,3,4,5,{MOST_MILLISECONDS + 1}", "1,2,3,4,5," + "9" * 100_000, "1,2,3,4,5,٦",
        "1,2,3,4,5,6\n", " 1,2,3,4,5,6", "0x1,2,3,4,5,6", "1," * 100_000,
    ],
)  # fmt: skip
def test_attack_what_no_pod_agent_sends_is_not_read(hostile: str) -> None:
    assert read(hostile) is None
