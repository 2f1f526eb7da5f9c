"""Background tasks under a clock that the test turns."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.program_metrics import ProgramMetrics
from service.supervisor import LONGEST_ASKED_SECONDS, BackOff, Supervisor, Task, described
from service.threads import in_daemon_thread
from tests.log_lines import captured_lines
from tests.waiting import PATIENCE_SECONDS, until


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged."""
    with captured_lines() as logged:
        yield logged


class Away(Exception):
    """An error that a task expects."""

    retry_after_seconds: float | None = None


class Seconds:
    """A clock whose sleeps turn it, and which ends what sleeps beyond `end`."""

    def __init__(self, end: float) -> None:
        self.now = 0.0
        self.end = end
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < math.inf
        if self.now + seconds > self.end:
            raise asyncio.CancelledError
        self.slept.append(seconds)
        self.now += seconds


def task(run: Callable[[], Awaitable[float | None]], **changes: object) -> Task:
    values: dict[str, object] = {"period": 10.0, "failure": "nothing done", "expected": (Away,), **changes}
    return Task("work", run, **values)  # type: ignore[arg-type]  # what Task takes


async def repeated(one: Task, seconds: float) -> tuple[Supervisor, Seconds]:
    """The task, repeated for so long; a chance of 1 makes the pauses the longest."""
    clock = Seconds(seconds)
    supervisor = Supervisor([one], clock=clock, chance=lambda: 1.0, sleep=clock.sleep)
    with pytest.raises(asyncio.CancelledError):
        await supervisor.repeat(one)
    return supervisor, clock


def rounds(*outcomes: Exception | float | None) -> Callable[[], Awaitable[float | None]]:
    """A round that ends in one way after the other, and in the last one from then on."""
    left = list(outcomes)

    async def run() -> float | None:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return run


async def test_a_round_comes_after_each_period_and_the_first_one_when_the_task_says() -> None:
    _, clock = await repeated(task(rounds(None)), 25)
    assert clock.slept == [0, 10, 10]
    _, clock = await repeated(task(rounds(None), at_start=False), 25)
    assert clock.slept == [10, 10]


async def test_a_round_may_say_when_the_next_one_comes() -> None:
    _, clock = await repeated(task(rounds(3.0, 0.0, None)), 20)
    assert clock.slept == [0, 3, 0, 10]


@pytest.mark.parametrize("error", [Away("away"), RuntimeError("a defect"), TimeoutError()])
async def test_failures_back_off_and_a_success_resets_the_back_off(error: Exception) -> None:
    back_off = BackOff(1.0, 5.0)
    run = rounds(error, error, error, error, None, error, None)
    supervisor, clock = await repeated(task(run, back_off=back_off), 35)
    assert clock.slept == [0, 1, 2, 4, 5, 10, 1, 10]
    assert supervisor.records["work"].failures == 5
    assert supervisor.records["work"].in_a_row == 0
    assert supervisor.seconds_since_success("work") == 0


async def test_a_program_is_not_ready_before_a_task_that_it_needs_has_worked_once() -> None:
    needed = task(rounds(Away("away"), RuntimeError("a defect"), None, Away("away")), needed=True)
    supervisor, _ = await repeated(needed, 0.5)
    assert supervisor.problems() == ["the background task work has not worked yet"]
    supervisor, _ = await repeated(needed, 1000)
    assert supervisor.problems() == []


def test_back_off_is_half_by_chance_and_respects_what_a_server_asked_for() -> None:
    back_off = BackOff()
    pauses = [back_off.pause(failures, 1.0) for failures in range(1, 12)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert max(pauses) == back_off.pause(10_000, 1.0) == 30.0
    assert back_off.pause(1, 0.0) == 0.25
    assert back_off.pause(1, 0.0, 7.0) == 7.0
    assert back_off.pause(1, 0.0, 300.0) == 300.0
    assert back_off.pause(1, 1.0, 300.0) == pytest.approx(330.0)
    assert back_off.pause(1, 0.0, 1e9) == LONGEST_ASKED_SECONDS


async def test_the_pause_that_a_server_asked_for_is_kept() -> None:
    error = Away("busy")
    error.retry_after_seconds = 7.0
    _, clock = await repeated(task(rounds(error, None)), 15)
    assert clock.slept == [0, pytest.approx(7.7)]


async def test_every_failure_is_one_line_that_says_what_it_means_and_why(
    lines: list[dict[str, Any]],
) -> None:
    await repeated(task(rounds(Away("no route"), TimeoutError(), None), context=lambda: {"left": 3}), 5)
    away, timeout, works = lines
    assert {**away, "retrySeconds": 0} == {
        "event": "nothing done",
        "log_level": "warning",
        "task": "work",
        "error": "Away: no route",
        "failures": 1,
        "retrySeconds": 0,
        "left": 3,
    }
    assert (timeout["error"], timeout["log_level"], timeout["failures"]) == ("TimeoutError", "error", 2)
    assert isinstance(timeout["exc_info"], TimeoutError)
    assert works == {
        "event": "background task works again",
        "log_level": "info",
        "task": "work",
        "failures": 2,
    }


def test_a_long_text_is_cut() -> None:
    assert len(described(ValueError("x" * 100_000))) == 500


async def test_an_essential_task_that_does_not_recover_turns_readiness_and_one_that_does_turns_it_back() -> (
    None
):
    defects = [RuntimeError("a defect")] * 8
    one = task(rounds(*defects, None), unready_after_seconds=60.0)
    supervisor, clock = await repeated(one, 91)
    assert supervisor.problem() == "the background task work has not worked for 62 s"
    clock.end = 200
    with pytest.raises(asyncio.CancelledError):
        await supervisor.repeat(one)
    assert supervisor.problems() == []


async def test_a_task_that_pauses_for_long_is_neither_unready_nor_overdue() -> None:
    one = task(rounds(3600.0), unready_after_seconds=60.0)
    supervisor, clock = await repeated(one, 10)
    clock.now = 3600
    assert supervisor.problem() is None
    assert supervisor.overdue_seconds("work") == 0
    assert supervisor.seconds_since_success("work") == 3600
    clock.now = 3661
    assert supervisor.problem() == "the background task work has not worked for 61 s"


async def test_a_task_that_hangs_turns_readiness() -> None:
    clock = Seconds(1000)
    one = task(asyncio.Event().wait, unready_after_seconds=60.0)
    supervisor = Supervisor([one], clock=clock, sleep=clock.sleep)
    async with supervisor.running():
        await asyncio.sleep(0)
        assert supervisor.problem() is None
        clock.now = 61
        assert supervisor.problem() == "the background task work has not worked for 61 s"


@pytest.mark.parametrize(
    "changes", [{"unready_after_seconds": 60.0}, {"expected": (), "unready_after_seconds": None}]
)
async def test_what_is_away_for_all_or_does_not_matter_leaves_readiness_and_is_seen_all_the_same(
    changes: dict[str, object],
) -> None:
    supervisor, clock = await repeated(task(rounds(Away("away")), **changes), 300)
    assert supervisor.problem() is None
    assert supervisor.records["work"].failures > 10
    assert supervisor.seconds_since_success("work") == clock.now > 270


async def test_failures_and_ages_are_shown_from_the_start() -> None:
    clock = Seconds(9)
    one = task(rounds(Away("away"), None))
    supervisor = Supervisor([one], clock=clock, chance=lambda: 1.0, sleep=clock.sleep)
    registry = CollectorRegistry()
    ProgramMetrics(registry, "webhook", supervisor)
    assert 'vanadium_webhook_task_failures_total{task="work"} 0.0' in generate_latest(registry).decode()
    with pytest.raises(asyncio.CancelledError):
        await supervisor.repeat(one)
    clock.now = 20.0
    shown = generate_latest(registry).decode()
    assert 'vanadium_webhook_task_failures_total{task="work"} 1.0' in shown
    assert 'vanadium_webhook_task_seconds_since_success{task="work"} 19.5' in shown
    # The first good round ended after half a second, and the next was due ten seconds later.
    assert 'vanadium_webhook_task_overdue_seconds{task="work"} 9.5' in shown


async def test_one_task_s_failure_ends_no_other_and_the_end_is_prompt() -> None:
    went_on = asyncio.Event()

    async def never() -> None:
        await asyncio.Event().wait()

    async def counted() -> None:
        if supervisor.records["fails"].failures:
            went_on.set()

    supervisor = Supervisor(
        [
            Task("fails", rounds(ValueError("unexpected")), 0.0, "no"),
            Task("hangs", never, 0.0, "no"),
            Task("counts", counted, 0.0, "no"),
        ]
    )
    async with supervisor.running():
        await asyncio.wait_for(went_on.wait(), PATIENCE_SECONDS)
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancellation_inside_of_a_round_is_a_failure_and_one_of_the_task_ends_it() -> None:
    twice, begun = asyncio.Event(), 0

    async def cancelled() -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            twice.set()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    supervisor = Supervisor([one := Task("inner", cancelled, 0.0, "no", back_off=BackOff(0.0, 0.0))])
    running = asyncio.create_task(supervisor.repeat(one))
    await asyncio.wait_for(twice.wait(), PATIENCE_SECONDS)
    assert supervisor.records["inner"].failures >= 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("pause", [math.nan, math.inf, -math.inf, -1.0])
async def test_attack_a_pause_that_would_never_end_is_a_failed_round(pause: float) -> None:
    """A cluster agent that answers `askAgainAfterSeconds: NaN` stopped a pod agent's watch for ever."""
    back_off = BackOff(1.0, 5.0)
    one = task(rounds(pause), back_off=back_off, unready_after_seconds=60.0)
    supervisor, clock = await repeated(one, 100)
    assert clock.slept[:5] == [0, 1, 2, 4, 5]
    assert supervisor.records["work"].failures == len(clock.slept)
    assert supervisor.problem() is not None
    with pytest.raises(ValueError, match="a pause of"):
        task(rounds(None), period=pause)


class FullDisk:
    """A log of which no line can be written."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def write(*_arguments: object, **_values: object) -> None:
            raise OSError(28, "No space left on device")

        return write


@pytest.mark.parametrize("error", [Away("away"), RuntimeError("a defect")])
async def test_a_log_that_cannot_be_written_ends_no_task(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.supervisor._log", FullDisk())
    one = task(rounds(error, error, None), back_off=BackOff(1.0, 5.0))
    supervisor, clock = await repeated(one, 25)
    assert clock.slept == [0, 1, 2, 10, 10]
    assert supervisor.records["work"].failures == 2
    assert supervisor.records["work"].in_a_row == 0


async def test_what_is_only_for_the_log_ends_no_task() -> None:
    def broken() -> dict[str, object]:
        raise KeyError("nothing")

    supervisor, clock = await repeated(
        task(rounds(Away("away"), None), context=broken, back_off=BackOff(1.0, 5.0)), 15
    )
    assert clock.slept == [0, 1, 10]
    assert supervisor.records["work"].failures == 1


@pytest.mark.parametrize("full", [False, True])
async def test_a_task_that_ends_nevertheless_is_a_problem_at_once_and_counted(
    full: bool, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if full:
        monkeypatch.setattr("service.supervisor._log", FullDisk())

    class Ends(BaseException):
        """Not an Exception, so that nothing catches it."""

    async def end() -> None:
        raise Ends

    supervisor = Supervisor([task(end), Task("goes on", rounds(None), 0.0, "no")])
    async with supervisor.running():
        await until("the problem", supervisor.problem)
        assert supervisor.problem() == "the background task work has ended"
        assert supervisor.records["work"].failures == 1
    assert supervisor.records["goes on"].failures == 0
    assert not supervisor.records["goes on"].ended
    assert full or [line["event"] for line in lines] == ["background task ended"]


async def test_the_end_of_the_program_is_no_failure() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    supervisor = Supervisor([one := Task("leaves", leave, 0.0, "no")])
    with pytest.raises(SystemExit):
        await supervisor.repeat(one)
    assert supervisor.records["leaves"].failures == 0


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Supervisor([task(rounds(None)), task(rounds(None))])


async def test_a_call_in_a_thread_answers_or_raises_what_the_call_does() -> None:
    assert await in_daemon_thread("adds", lambda: 1 + 1) == 2
    with pytest.raises(ZeroDivisionError):
        await in_daemon_thread("divides", lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_daemon_thread("iterates", lambda: next(iter(())))


async def test_a_call_that_is_not_waited_for_any_longer_holds_up_nothing() -> None:
    release, done = threading.Event(), threading.Event()

    def wait() -> None:
        release.wait(PATIENCE_SECONDS)
        done.set()

    waiting = asyncio.create_task(in_daemon_thread("waits", wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not done.is_set()
    release.set()
