"""One process of a container: started in its own process group, read line by line, ended with all of its
descendants."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vkube.runner.errors import UnsupportedPod

_PR_SET_PDEATHSIG = 1
# In the environment of every process of a container: a descendant that made a session of its own left the
# process group, and once its parent has ended nothing else ties it to the container.
_MARK = "VKUBE_RUNNER_PROCESS"
_LAST_OUTPUT_SECONDS = 1.0


@dataclass(frozen=True)
class Command:
    """What to start: the arguments, the whole environment, and the working directory."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path

    def resolved(self) -> list[str]:
        """The arguments, with the program's full path. Raises UnsupportedPod when there is no such
        program."""
        program, *rest = self.argv
        if program in ("python", "python3"):
            return [sys.executable, *rest]
        found = shutil.which(program, path=self.environment.get("PATH"))
        if found is None:
            raise UnsupportedPod(f"there is no program {program!r} on this machine")
        return [found, *rest]


class Process:
    """A running process. Its output goes to `on_line`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        mark: str,
        output: asyncio.ReadTransport,
        reading: asyncio.Task[None],
    ) -> None:
        self._process = process
        self._mark = mark
        self._output = output
        self._reading = reading

    @classmethod
    async def start(cls, command: Command, on_line: Callable[[str], None]) -> Process:
        """The started process. Raises UnsupportedPod when it cannot be started."""
        argv = command.resolved()
        mark = uuid.uuid4().hex
        # A pipe of our own: asyncio's `wait` would wait for all that hold the other end, also for a
        # descendant that outlives the process.
        reading_end, writing_end = os.pipe()
        stream = asyncio.StreamReader()
        output, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading_end, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env={**command.environment, _MARK: mark},
                cwd=command.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing_end,
                stderr=writing_end,
                start_new_session=True,
                preexec_fn=_die_with_runner,
            )
        except BaseException as error:
            output.close()
            if isinstance(error, OSError):
                raise UnsupportedPod(f"cannot start {argv[0]}: {error.strerror}") from error
            raise
        finally:
            os.close(writing_end)
        return cls(process, mark, output, asyncio.create_task(_read(stream, on_line)))

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code in Kubernetes' form: 128 plus the signal's number for a killed process."""
        try:
            code = await self._process.wait()
            self.signal(signal.SIGKILL)  # children that it left behind
            await asyncio.to_thread(_kill_marked, self._mark)
            # A descendant that cleared its environment may hold the pipe for ever. The reading is not
            # cancelled: where this program had to wait for the processor, what has come would be lost.
            await asyncio.wait([self._reading], timeout=_LAST_OUTPUT_SECONDS)
        finally:
            self._output.close()  # which ends the reading
        await self._reading
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group; a group that has already ended is no error."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def terminate(self, grace_seconds: float) -> None:
        """Sends SIGTERM, and SIGKILL when the process has not ended after the grace period."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_seconds):
                await self._process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)


async def _read(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the stream's limit: what is buffered was dropped
            continue
        if not line:
            return
        on_line(line.decode(errors="replace").rstrip("\n"))


def _die_with_runner() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _kill_marked(mark: str) -> None:
    """Kills every process whose environment has the mark. Linux only: elsewhere there is no /proc."""
    wanted = f"{_MARK}={mark}".encode()
    found = True
    while found:  # again, because one may have forked meanwhile
        found = False
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is another user's
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
                    found = True
