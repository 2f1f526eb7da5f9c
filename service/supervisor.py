"""Background work: each piece of work is one `Task`, and one `Supervisor` runs all of a program's.

    supervisor = Supervisor([Task("fleet", count_fleet, period=60.0, failure="fleet not counted")])
    async with supervisor.running():
        await serve()

A round that fails is logged, counted and tried again with back-off. It ends neither its own task nor another.
`records` and `problems` contain the state of the tasks for `/metrics` and `/readyz`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

# Error texts are cut to this length, because they may quote a long text of a tenant.
_LONGEST_TEXT = 500

_CHANCE = random.SystemRandom().random

_log = structlog.get_logger(__name__)


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
        is a server's Retry-After: the pause is at least this, but never longer than `longest_seconds`."""
        # At most twenty doublings: more would only overflow.
        ceiling = min(self.first_seconds * 2.0 ** min(failures - 1, 20), self.longest_seconds)
        return max(ceiling * (0.5 + chance / 2), min(asked_seconds or 0.0, self.longest_seconds))


@dataclass(frozen=True)
class Task:
    """Work that is repeated as long as the program runs.

    Attributes:
        name: for the log, the metrics and `/readyz`.
        run: one round. It may return the seconds until the next round, in place of `period`. It must not
            block the event loop: see `service.threads`.
        period: seconds from the end of a round to the start of the next.
        failure: the log event of a failed round, such as 'fleet not counted'.
        expected: errors that mean that something outside of the program is away or refuses. Their text is
            logged without a traceback, and they do not make `/readyz` fail: the other program is away for
            every replica, so it would not help if all of them left their Service.
        unready_after_seconds: how long a round may hang, or rounds may fail with unexpected errors, before
            `/readyz` fails. It must exceed the longest good round. None: this task never makes it fail.
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
    at_start: bool = True
    back_off: BackOff = field(default_factory=BackOff)
    context: Callable[[], Mapping[str, object]] = dict


@dataclass
class TaskRecord:
    """The state of a task. Times are those of the supervisor's clock.

    Attributes:
        succeeded_at: the end of the last good round; until the first one, the start.
        due_at: when the round after that good round was due.
        quiet_until: the same, but a round that failed with an expected error counts as good.
        failures: since the start.
        in_a_row: failures since the last success.
    """

    succeeded_at: float
    due_at: float
    quiet_until: float
    failures: int = 0
    in_a_row: int = 0


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
        self.tasks = tuple(tasks)
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._describe = describe or described
        self.records = {task.name: self._begin(task) for task in self.tasks}
        if len(self.records) != len(self.tasks):
            raise ValueError("two tasks have one name")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the tasks inside of the context."""
        self.records.update({task.name: self._begin(task) for task in self.tasks})
        running = [asyncio.create_task(self.repeat(task), name=task.name) for task in self.tasks]
        try:
            yield
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def repeat(self, task: Task) -> None:
        """Runs one of the tasks until it is cancelled."""
        record = self.records[task.name]
        pause = 0.0 if task.at_start else task.period
        while True:
            await self._sleep(pause)
            try:
                asked = await task.run()
            except asyncio.CancelledError as error:
                current = asyncio.current_task()
                if current is None or current.cancelling():
                    raise
                # This task was not cancelled, but something that the round waited for.
                pause = self._failed(task, record, RuntimeError(f"the round was cancelled {error}".strip()))
            except Exception as error:  # noqa: BLE001 - an unforeseen error must not end a task in silence
                pause = self._failed(task, record, error)
            else:
                pause = task.period if asked is None else asked
                self._succeeded(task, record, pause)

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
        return [
            f"the background task {task.name} has not worked for {round(silent)} s"
            for task in self.tasks
            if task.unready_after_seconds is not None
            and (silent := now - self.records[task.name].quiet_until) > task.unready_after_seconds
        ]

    def problem(self) -> str | None:
        """All of `problems` in one sentence; None when all is well."""
        return "; ".join(self.problems()) or None

    def _begin(self, task: Task) -> TaskRecord:
        start = self._clock()
        due = start if task.at_start else start + task.period
        return TaskRecord(start, due, due)

    def _succeeded(self, task: Task, record: TaskRecord, pause: float) -> None:
        if record.in_a_row:
            _log.info("background task works again", task=task.name, failures=record.in_a_row)
        record.in_a_row = 0
        record.succeeded_at = self._clock()
        record.due_at = record.quiet_until = record.succeeded_at + pause

    def _failed(self, task: Task, record: TaskRecord, error: Exception) -> float:
        record.failures += 1
        record.in_a_row += 1
        asked = getattr(error, "retry_after_seconds", None)
        pause = task.back_off.pause(record.in_a_row, self._chance(), asked)
        reason = getattr(error, "reason", None)
        line: dict[str, object] = {
            "task": task.name,
            **({} if reason is None else {"reason": str(reason)}),
            "error": self._describe(error),
            "failures": record.in_a_row,
            "retrySeconds": round(pause, 1),
            **task.context(),
        }
        if isinstance(error, task.expected):
            record.quiet_until = self._clock() + pause
            _log.warning(task.failure, **line)
        else:
            _log.error(task.failure, **line, exc_info=error)
        return pause


def described(error: Exception) -> str:
    """The error's type and text. The type is needed, because a TimeoutError, for example, has no text."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")[:_LONGEST_TEXT]
