"""When a comparison of tenants is a failure."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.bench.tenants.measure import LIMITS, Outcome, Series, table

GOOD = Outcome("held", Series([0.1]), Series([0.1] * 98 + [0.2, 0.3]), 5, {"webhook": 10.0})


def test_a_normal_tenant_that_only_waits_longer_is_no_failure() -> None:
    assert GOOD.problems == []
    assert GOOD.beside.p99 == 0.2
    assert "200 ms" in table([GOOD])


@pytest.mark.parametrize(
    "wrong",
    [
        replace(GOOD, beside=Series([0.1], ["ReadTimeout"])),
        replace(GOOD, beside=Series([], ["ReadTimeout"])),
        replace(GOOD, alone=Series([0.1], ["ReadTimeout"])),
        replace(GOOD, attempts=0),
        replace(GOOD, peaks={"webhook": LIMITS["webhook"] + 1.0}),
    ],
)
def test_a_call_that_failed_and_memory_beyond_a_limit_are_failures(wrong: Outcome) -> None:
    (problem,) = wrong.problems
    assert problem


def test_the_p99_of_no_call_is_infinite() -> None:
    assert Series().p99 == math.inf


def test_the_limits_are_those_of_the_deployment() -> None:
    assert LIMITS == {"cluster_agent": 256, "webhook": 256, "pod_agent": 96}
