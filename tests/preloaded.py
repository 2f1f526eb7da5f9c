"""Starts cluster agents by forking a process that imported the program already: a tenth of a second instead
of two, for tests that start it hundreds of times. What runs in the fork is the program's own main().

    with preloaded() as start, running_cluster_agent(directory, start=start) as agent: ...
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster_agents import Process, Start


@dataclass
class ForkedProcess:
    """A child of the preloaded process, which reaps it at once; its exit code is lost."""

    pid: int

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("cluster-agent", timeout or 0)
            time.sleep(0.005)
        return 0


@contextmanager
def preloaded() -> Iterator[Start]:
    """A way to start agents, while the process that they are forked from lives."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.preloaded"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    requests, answers = parent.stdin, parent.stdout

    def start(arguments: list[str], log_file: Path) -> Process:
        requests.write(json.dumps([arguments, str(log_file)]) + "\n")
        requests.flush()
        return ForkedProcess(int(answers.readline()))

    try:
        yield start
    finally:
        requests.close()
        parent.wait(60)
        answers.close()


def _fork_on_request() -> None:
    from cluster_agent.__main__ import main

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        arguments, log_file = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.dup2(log, 2)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            sys.argv = ["cluster-agent", *arguments]
            try:
                main()
            finally:
                sys.stderr.flush()
                os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _fork_on_request()
