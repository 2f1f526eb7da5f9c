"""A program of ours as a process beside the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.waiting import PATIENCE_SECONDS


@dataclass(frozen=True)
class Runtime:
    """What runs a program: an interpreter with its options, and the directory that has the program's package.

    By default these are the tests' own interpreter, and the sources.
    """

    command: Sequence[str] = (sys.executable,)
    directory: Path = CHECKOUT


@contextmanager
def program(
    module: str, logs: Path, runtime: Runtime | None = None, /, **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """One of ours with these flags, underscores for dashes, until the end of the block."""
    runtime = runtime or Runtime()
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    with (logs / f"{module}.log").open("ab") as log:
        process = subprocess.Popen(
            [*runtime.command, "-m", module, *flags],
            stderr=log,
            cwd=runtime.directory,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
