"""Background work: each piece of work is one `Task`, and one `Supervisor` runs all of a program's.

    supervisor = Supervisor([Task("fleet", count_fleet, period=60.0, failure="fleet not counted")])
    async with supervisor.running():
        await serve()

A round that fails is counted, logged and tried again with back-off. It ends neither its own task nor another,
also when the line of the log cannot be written. A task that ends nevertheless is a problem at once.
`records` and `problems` contain the state of the tasks for `/metrics` and `/readyz`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from service.log import get_logger

# A server's Retry-After is kept up to this, whatever a task's own longest pause is.
LONGEST_ASKED_SECONDS = 600.0
# Error texts are cut to this length, because they may quote a long text of a tenant.
_LONGEST_TEXT = 500

_CHANCE = random.SystemRandom().random

# Around each line of the log, and what is made only for it: a full disk under stderr must not end a task. The
# metrics and `/readyz` show the failure all the same.
_LOG_MAY_FAIL = suppress(Exception)

_log = get_logger(__name__)


@dataclass(frozen=True)
class BackOff:
    """Exponential back-off after failures in a row.

    A pause is half of the calculated time and a random part of the other half, so that replicas that failed
    together do not try again together.
    """

    first_seconds: float = 0.5
    longest_seconds: float = 30.0

    def pause(self, failures: int, chance: float, asked_seconds: float | None = None) -> float:
        """The seconds to wait after `failures` (1 or more) in a row. `chance` is from 0 to 1; `asked_seconds`
        is a server's Retry-After: the pause is at least this, up to LONGEST_ASKED_SECONDS, and up to a tenth
        longer."""
        # At most twenty doublings: more would only overflow.
        ceiling = min(self.first_seconds * 2.0 ** min(failures - 1, 20), self.longest_seconds)
        asked = min(asked_seconds or 0.0, LONGEST_ASKED_SECONDS) * (1 + chance / 10)
        return max(ceiling * (0.5 + chance / 2), asked)


@dataclass(frozen=True)
class Task:
    """Work that is repeated as long as the program runs.

    Attributes:
        name: for the log, the metrics and `/readyz`.
        run: one round. It may return the seconds until the next round, in place of `period`; a pause that is
            negative or not finite is a failed round. It must not block the event loop: see `service.threads`.
        period: seconds from the end of a round to the start of the next.
        failure: the log event of a failed round, such as 'fleet not counted'.
        expected: errors that mean that something outside of the program is away or refuses. Their text is
            logged without a traceback, and they do not make `/readyz` fail: the other program is away for
            every replica, so it would not help if all of them left their Service.
        unready_after_seconds: how long a round may hang, or rounds may fail with unexpected errors, before
            `/readyz` fails. It must exceed the longest good round. None: this task never makes it fail.
        needed: whether `/readyz` fails until the first good round, whatever the errors are: without it this
            replica of the program has never worked, so one that works must not make room for it.
        at_start: whether the first round is at once. False: it is after one period, for work that the
            program has just done itself.
        back_off: the pauses between failures.
        context: more values for the log line of a failure.
    """

    name: str
    run: Callable[[], Awaitable[float | None]]
    period: float
    failure: str
    expected: tuple[type[Exception], ...] = ()
    unready_after_seconds: float | None = None
    needed: bool = False
    at_start: bool = True
    back_off: BackOff = field(default_factory=BackOff)
    context: Callable[[], Mapping[str, object]] = dict

    def __post_init__(self) -> None:
        """Raises ValueError for a period that would never end."""
        _check_pause(self.period)


@dataclass
class TaskRecord:
    """The state of a task. Times are those of the supervisor's clock.

    Attributes:
        succeeded_at: the end of the last good round; until the first one, the start.
        due_at: when the round after that good round was due.
        quiet_until: the same, but a round that failed with an expected error counts as good.
        failures: since the start.
        in_a_row: failures since the last success.
        worked: whether there was a good round.
        ended: whether the task ended while the program runs; there are no further rounds.
    """

    succeeded_at: float
    due_at: float
    quiet_until: float
    failures: int = 0
    in_a_row: int = 0
    worked: bool = False
    ended: bool = False


class Supervisor:
    """Runs tasks, and records the state of each."""

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = _CHANCE,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        describe: Callable[[Exception], str] | None = None,
    ) -> None:
        """`clock` is monotonic, in seconds; `describe` returns the text of an error for the log."""
        self.tasks: tuple[Task, ...] = ()
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._describe = describe or described
        self.records: dict[str, TaskRecord] = {}
        self.add(*tasks)

    def add(self, *tasks: Task) -> None:
        """Adds tasks, before any runs."""
        self.tasks += tasks
        self.records = {task.name: self._begin(task) for task in self.tasks}
        if len(self.records) != len(self.tasks):
            raise ValueError("two tasks have one name")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the tasks inside of the context."""
        self.records.update({task.name: self._begin(task) for task in self.tasks})
        running = {}
        for task in self.tasks:
            one = asyncio.create_task(self.repeat(task), name=task.name)
            running[one] = partial(self._ended, self.records[task.name])
            one.add_done_callback(running[one])
        try:
            yield
        finally:
            for one, ended in running.items():
                one.remove_done_callback(ended)
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def repeat(self, task: Task) -> None:
        """Runs one of the tasks until it is cancelled."""
        record = self.records[task.name]
        pause = 0.0 if task.at_start else task.period
        while True:
            await self._sleep(pause)
            pause = await self._round(task, record)

    def seconds_since_success(self, name: str) -> float:
        """The seconds since the end of that task's last good round; before one, since the start."""
        return self._clock() - self.records[name].succeeded_at

    def overdue_seconds(self, name: str) -> float:
        """How long a good round of that task has been overdue; 0 between rounds. A watch is one long
        round."""
        return max(0.0, self._clock() - self.records[name].due_at)

    def problems(self) -> list[str]:
        """The tasks that do not recover, for `/readyz`; empty when all is well."""
        now = self._clock()
        found = []
        for task in self.tasks:
            record = self.records[task.name]
            silent = now - record.quiet_until
            if record.ended:
                found.append(f"the background task {task.name} has ended")
            elif task.needed and not record.worked:
                found.append(f"the background task {task.name} has not worked yet")
            elif task.unready_after_seconds is not None and silent > task.unready_after_seconds:
                found.append(f"the background task {task.name} has not worked for {round(silent)} s")
        return found

    def problem(self) -> str | None:
        """All of `problems` in one sentence; None when all is well."""
        return "; ".join(self.problems()) or None

    def _begin(self, task: Task) -> TaskRecord:
        start = self._clock()
        due = start if task.at_start else start + task.period
        return TaskRecord(start, due, due)

    async def _round(self, task: Task, record: TaskRecord) -> float:
        """Runs one round, and returns the seconds until the next."""
        try:
            asked = await task.run()
            pause = task.period if asked is None else asked
            _check_pause(pause)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            # This task was not cancelled, but something that the round waited for.
            return self._failed(task, record, RuntimeError(f"the round was cancelled {error}".strip()))
        except Exception as error:  # noqa: BLE001 - an unforeseen error must not end a task in silence
            return self._failed(task, record, error)
        self._succeeded(task, record, pause)
        return pause

    def _succeeded(self, task: Task, record: TaskRecord, pause: float) -> None:
        failures, record.in_a_row, record.worked = record.in_a_row, 0, True
        record.succeeded_at = self._clock()
        record.due_at = record.quiet_until = record.succeeded_at + pause
        if failures:
            with _LOG_MAY_FAIL:
                _log.info("background task works again", task=task.name, failures=failures)

    def _failed(self, task: Task, record: TaskRecord, error: Exception) -> float:
        """Counts and logs a failed round, and returns the pause after it. Raises nothing."""
        record.failures += 1
        record.in_a_row += 1
        asked = getattr(error, "retry_after_seconds", None)
        pause = task.back_off.pause(record.in_a_row, self._chance(), asked)
        expected = isinstance(error, task.expected)
        if expected:
            record.quiet_until = self._clock() + pause
        with _LOG_MAY_FAIL:
            reason = getattr(error, "reason", None)
            line: dict[str, object] = {
                "task": task.name,
                **({} if reason is None else {"reason": str(reason)}),
                "error": self._describe(error),
                "failures": record.in_a_row,
                "retrySeconds": round(pause, 1),
                **task.context(),
            }
            if expected:
                _log.warning(task.failure, **line)
            else:
                _log.error(task.failure, **line, exc_info=error)
        return pause

    def _ended(self, record: TaskRecord, ended: asyncio.Task[None]) -> None:
        """Notes that a task ended although nobody stopped it. Nothing in it should be able to."""
        record.ended = True
        record.failures += 1
        error = None if ended.cancelled() else ended.exception()
        with _LOG_MAY_FAIL:
            _log.error("background task ended", task=ended.get_name(), exc_info=error)


def _check_pause(seconds: float) -> None:
    # sleep(nan) never returns, and no comparison with nan finds the task overdue.
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a pause of {seconds} s")


def described(error: Exception) -> str:
    """The error's type and text. The type is needed, because a TimeoutError, for example, has no text."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:_LONGEST_TEXT]
