"""One container: its process is started, probed, and restarted according to its restart policy."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blessings.encoding.times import rfc3339
from vkube.runner.errors import NotMountable, UnsupportedPod
from vkube.runner.probes import ask, check, command_after_start, starts
from vkube.runner.process import Command, Process

_RETRY_SECONDS = 0.5
_RESET_SECONDS = 600.0


@dataclass(frozen=True)
class BackOff:
    """Pauses before restarts: doubling from `first` to `longest`, like a kubelet's."""

    first: float = 10.0
    longest: float = 300.0

    def pause(self, restarts: int) -> float:
        return min(self.first * float(2 ** min(restarts, 10)), self.longest)


@dataclass(frozen=True)
class State:
    """A container's state in its status: exactly one of waiting, running, terminated."""

    kind: str
    detail: Mapping[str, Any]

    @classmethod
    def waiting(cls, reason: str, message: str = "") -> State:
        return cls("waiting", {"reason": reason, "message": message} if message else {"reason": reason})

    def json(self) -> dict[str, Any]:
        return {self.kind: dict(self.detail)}


class Container:
    """Runs one container of a Pod.

    Attributes:
        state, last_state: the current one, and the one before the last restart.
        started: set once the container started and its startup probe succeeded.
        ready: whether it would get traffic.
        restarts: how often it was restarted.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        restart_policy: str,
        *,
        pod_ip: str,
        pod_grace_seconds: float,
        log_directory: Path,
        command: Callable[[], Awaitable[Command]],
        changed: Callable[[], None],
        on_line: Callable[[str, str], None],
        back_off: BackOff,
    ) -> None:
        """Raises UnsupportedPod for a probe or a hook that cannot be asked."""
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe := spec.get(kind):
                check(probe, spec)
        self._hook: list[str] | None = command_after_start(spec)
        self._hook_problem = ""
        self.name: str = spec["name"]
        self.spec = spec
        self.state = State.waiting("PodInitializing")
        self.last_state: State | None = None
        self.started = asyncio.Event()
        self.ready = False
        self.restarts = 0
        self._policy = restart_policy
        self._pod_ip = pod_ip
        self._log_directory = log_directory
        self._command = command
        self._changed = changed
        self._on_line = on_line
        self._back_off = back_off
        self._pod_grace_seconds = pod_grace_seconds
        self._grace_seconds = pod_grace_seconds
        self._running = asyncio.Lock()
        self._stopping = asyncio.Event()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run; None while the container runs or waits."""
        return self.state.detail["exitCode"] if self.state.kind == "terminated" else None

    @property
    def log_file(self) -> Path:
        return self._log_directory / f"{self.name}.log"

    async def run(self) -> int:
        """Runs until the restart policy allows no restart, or until `stop`. Returns the last exit code."""
        while True:
            began = datetime.now(UTC)
            async with self._running:
                code = await self._run_once()
            if code is None:  # stopped before it was started
                return 0
            if self._stopping.is_set() or not self._restarts_after(code):
                return code
            if (datetime.now(UTC) - began).total_seconds() > _RESET_SECONDS:
                self.restarts = 0
            pause = self._back_off.pause(self.restarts)
            self.last_state = self.state
            self._set(State.waiting("CrashLoopBackOff", f"starting again in {pause:g} s"))
            await self._pause(pause)
            if self._stopping.is_set():
                self._set(self.last_state)
                return code
            self.restarts += 1

    async def stop(self, grace_seconds: float) -> None:
        """Sends SIGTERM, and SIGKILL after the grace period; returns when no process is left."""
        self._grace_seconds = grace_seconds
        self._stopping.set()
        # A process that is being started at this moment is ended too: `run` holds the lock meanwhile.
        async with self._running:
            pass

    async def execute(self, argv: Sequence[str]) -> tuple[int, str]:
        """Runs a command beside the container, with its environment; returns its exit code and output."""
        own = await self._command()
        lines: list[str] = []
        process = await Process.start(Command(argv, own.environment, own.directory), lines.append)
        try:
            return await process.wait(), "\n".join(lines)
        except asyncio.CancelledError:  # a probe's time is over, or the Pod's
            process.signal(signal.SIGKILL)
            await process.wait()
            raise

    async def _failed(self, argv: Sequence[str]) -> str:
        """Why a command beside the container failed; '' where it did not."""
        try:
            code, output = await self.execute(argv)
        except (NotMountable, UnsupportedPod) as error:  # such as a program that this machine lacks
            return str(error)
        return f"{argv[0]}: exit code {code}: {output[-200:]}" if code else ""

    def _restarts_after(self, code: int) -> bool:
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    async def _run_once(self) -> int | None:
        command = await self._wait_for_command()
        if command is None:
            return None
        self._log_directory.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists():
            self.log_file.rename(self.log_file.with_suffix(".previous"))
        with self.log_file.open("w") as log:

            def note(line: str) -> None:
                log.write(line + "\n")
                log.flush()
                self._on_line(self.name, line)

            try:
                process = await Process.start(command, note)
            except UnsupportedPod as error:
                return self._ended(128, datetime.now(UTC), f"StartError: {error}")
            began, self._hook_problem = datetime.now(UTC), ""
            self._set(State("running", {"startedAt": rfc3339(began)}))
            watching = [
                asyncio.create_task(self._probe(process)),
                asyncio.create_task(self._end_when_stopped(process)),
            ]
            try:
                code = await process.wait()
            except asyncio.CancelledError:
                process.signal(signal.SIGKILL)
                raise
            finally:
                for task in watching:
                    task.cancel()
                outcomes = await asyncio.gather(*watching, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return self._ended(code, began, self._hook_problem or ("Completed" if code == 0 else "Error"))

    async def _end_when_stopped(self, process: Process) -> None:
        await self._stopping.wait()
        await process.terminate(self._grace_seconds)

    def _ended(self, code: int, began: datetime, reason: str) -> int:
        self.started.clear()
        self.ready = False
        word, _, message = reason.partition(": ")
        detail = {
            "exitCode": code,
            "reason": word,
            "startedAt": rfc3339(began),
            "finishedAt": rfc3339(datetime.now(UTC)),
        }
        self._set(State("terminated", {**detail, "message": message} if message else detail))
        return code

    async def _wait_for_command(self) -> Command | None:
        """The command, once everything that it refers to exists; None when stopped before."""
        while not self._stopping.is_set():
            try:
                return await self._command()
            except NotMountable as error:
                self._set(State.waiting("CreateContainerConfigError", str(error)))
            except UnsupportedPod as error:
                self._set(State.waiting("ErrImageNeverPull", str(error)))
            await self._pause(_RETRY_SECONDS)
        return None

    async def _probe(self, process: Process) -> None:
        """Probes startup first, then liveness and readiness at the same time. Kills a container that is not
        alive."""

        async def execute(argv: Sequence[str]) -> int:
            return 1 if await self._failed(argv) else 0

        def asking(probe: Mapping[str, Any]) -> Awaitable[bool]:
            return ask(probe, self.spec, self._pod_ip, execute)

        if self._hook and (problem := await self._failed(self._hook)):
            self._hook_problem = f"PostStartHookError: {problem}"
            await process.terminate(self._pod_grace_seconds)
            return
        startup = self.spec.get("startupProbe")
        if startup and not await starts(startup, asking):
            await process.terminate(self._grace_after(startup))
            return
        self.started.set()
        self.ready = "readinessProbe" not in self.spec
        self._changed()
        probes = []
        if readiness := self.spec.get("readinessProbe"):
            probes.append(self._follow_readiness(readiness, asking))
        if liveness := self.spec.get("livenessProbe"):
            probes.append(self._follow_liveness(liveness, asking, process))
        await asyncio.gather(*probes)

    async def _follow_readiness(
        self, probe: Mapping[str, Any], asking: Callable[[Mapping[str, Any]], Awaitable[bool]]
    ) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        failures = 0
        while True:
            failures = 0 if await asking(probe) else failures + 1
            ready = failures == 0 or (self.ready and failures < (probe.get("failureThreshold") or 3))
            if ready != self.ready:
                self.ready = ready
                self._changed()
            await asyncio.sleep(probe.get("periodSeconds") or 10)

    async def _follow_liveness(
        self,
        probe: Mapping[str, Any],
        asking: Callable[[Mapping[str, Any]], Awaitable[bool]],
        process: Process,
    ) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
        failures = 0
        while failures < (probe.get("failureThreshold") or 3):
            failures = 0 if await asking(probe) else failures + 1
            await asyncio.sleep(probe.get("periodSeconds") or 10)
        await process.terminate(self._grace_after(probe))

    def _grace_after(self, probe: Mapping[str, Any]) -> float:
        """How long a container that failed `probe` may take to end."""
        own = probe.get("terminationGracePeriodSeconds")
        return self._pod_grace_seconds if own is None else float(own)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _set(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self._changed()
