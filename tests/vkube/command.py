"""`vkube` as a person runs it, in this process: a new one takes a second to import what a command needs."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

from vkube.command_line.program import run


@dataclass(frozen=True)
class Ended:
    """An ended command: its exit code, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def called(*arguments: object) -> Ended:
    """Runs `vkube` with these arguments."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run([str(one) for one in arguments])
        except SystemExit as ended:  # --help
            code = int(ended.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def vkube(*arguments: object, ends: int = 0) -> str:
    """What `vkube` prints as its result; its complaint where it is to fail."""
    ended = called(*arguments)
    assert ended.code == ends, ended.output
    return ended.stderr if ends else ended.stdout
