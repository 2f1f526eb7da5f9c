"""Starts cluster agents by forking a process that has imported the program: in a tenth of a second, not two.

What runs in the fork is the program's own main(). Tests start agents in this way, except where a test sets
variables that libraries read when they are imported.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from tests.processes import die_with_parent


@dataclass
class ForkedProcess:
    """A child of the preloaded process, which reaps it at once and writes its exit code to a file."""

    pid: int
    exit_code: Path

    def poll(self) -> int | None:
        return int(self.exit_code.read_text()) if self.exit_code.exists() else None

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended at this moment
                os.kill(self.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("cluster-agent", timeout or 0)
            time.sleep(0.005)
        return code


class Preloaded:
    """The process that agents are forked from. It ends with this one, and its children with it."""

    def __init__(self) -> None:
        self._codes = Path(tempfile.mkdtemp(prefix="vanadium-preloaded-"))
        self._lock = threading.Lock()
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.preloaded", self._codes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )

    def start(self, arguments: list[str], log_file: Path) -> ForkedProcess:
        """The program `cluster-agent` with these flags, its standard error in `log_file`."""
        requests, answers = self._parent.stdin, self._parent.stdout
        assert requests is not None
        assert answers is not None
        with self._lock:
            requests.write(json.dumps([arguments, str(log_file), os.getcwd()]) + "\n")
            requests.flush()
            number, pid = answers.readline().split()
        return ForkedProcess(int(pid), self._codes / number)

    def stop(self) -> None:
        for stream in (self._parent.stdin, self._parent.stdout):
            if stream is not None:
                stream.close()
        self._parent.wait()
        shutil.rmtree(self._codes)


@cache
def preloaded() -> Preloaded:
    """The one of this process, made when it is first used."""
    made = Preloaded()
    atexit.register(made.stop)
    return made


class _Children:
    """Of the preloaded process: the number of each that runs, by its process."""

    def __init__(self, codes: Path) -> None:
        self._codes = codes
        self._numbers: dict[int, int] = {}

    def add(self, pid: int, number: int) -> None:
        self._numbers[pid] = number

    def reap(self, *_: object) -> None:
        """The handler of SIGCHLD."""
        while self._numbers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            number = self._numbers.pop(pid)
            unfinished = self._codes / f".{number}"
            unfinished.write_text(str(os.waitstatus_to_exitcode(status)))
            unfinished.rename(self._codes / str(number))

    def kill(self) -> None:
        for pid in self._numbers:
            os.kill(pid, signal.SIGKILL)


def _fork_on_request(codes: Path) -> None:
    from cluster_agent.__main__ import main

    children = _Children(codes)
    signal.signal(signal.SIGCHLD, children.reap)
    numbers = count()
    while line := sys.stdin.readline():
        arguments, log_file, directory = json.loads(line)
        number = next(numbers)
        # A child that ends at once is not reaped before its number is known.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            die_with_parent()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            os.chdir(directory)
            log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(log, 2)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            sys.argv = ["cluster-agent", *arguments]
            _exit_as(main)
        children.add(pid, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        sys.stdout.write(f"{number} {pid}\n")
        sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    children.kill()


def _exit_as(main: Callable[[], None]) -> None:
    """Runs `main`, and ends this process with the exit code that an interpreter would end with."""
    code = 1
    try:
        main()
        code = 0
    except SystemExit as exit_:
        if isinstance(exit_.code, str):
            print(exit_.code, file=sys.stderr)
        elif exit_.code is None or isinstance(exit_.code, int):
            code = exit_.code or 0
    except BaseException:  # noqa: BLE001 - the end of the process, as an interpreter shows it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _fork_on_request(Path(sys.argv[1]))
