"""One process of a container: started in its own process group, read line by line, ended with its
children."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vkube.runner.errors import UnsupportedPod

_PR_SET_PDEATHSIG = 1


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

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(on_line))

    @classmethod
    async def start(cls, command: Command, on_line: Callable[[str], None]) -> Process:
        """The started process. Raises UnsupportedPod when it cannot be started."""
        argv = command.resolved()
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(command.environment),
                cwd=command.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_runner,
            )
        except OSError as error:
            raise UnsupportedPod(f"cannot start {argv[0]}: {error.strerror}") from error
        return cls(process, on_line)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """The exit code in Kubernetes' form: 128 plus the signal's number for a killed process."""
        code = await self._process.wait()
        self.signal(signal.SIGKILL)  # children that it left behind
        await self._reading
        return code if code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group; a group that has already ended is no error."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _read(self, on_line: Callable[[str], None]) -> None:
        stream = self._process.stdout
        while stream is not None:
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
