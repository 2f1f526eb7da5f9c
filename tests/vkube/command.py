"""`vkube` as a person runs it, in this process: a new one takes a second to import what a command needs."""

from __future__ import annotations

import io
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TextIO

from vkube.command_line.program import run

PLAIN = "--with-passphrase=false"
"""For `principal create`, whose key is otherwise sealed."""


@dataclass(frozen=True)
class Ended:
    """An ended command: its exit code, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class _Printed(io.StringIO):
    """What this thread prints; that of others, such as a runner's log, goes where it went before."""

    def __init__(self, before: TextIO) -> None:
        super().__init__()
        self._before = before
        self._owner = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._owner:
            return self._before.write(text)
        return super().write(text)


def called(*arguments: object) -> Ended:
    """Runs `vkube` with these arguments."""
    out, err = _Printed(sys.stdout), _Printed(sys.stderr)
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
