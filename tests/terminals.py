"""A program on a terminal of its own, as a person at a keyboard has it, or without any terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_SECONDS = 120.0
# Makes the terminal the controlling one, and becomes the program.
_LAUNCH = (
    "import fcntl, os, sys, termios\n"
    "os.setsid()\n"
    "fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


@dataclass(frozen=True)
class Ended:
    """An ended program: exit code, standard output and error, and what stood on the terminal."""

    code: int
    stdout: str
    stderr: str
    screen: str


def on_a_terminal(
    arguments: Sequence[object], typed: Sequence[tuple[str, str]], *, stdin: str = "", **environment: str
) -> Ended:
    """Runs `python -m …`; each of `typed` is typed once its prompt is on the screen. The standard streams are
    pipes: only /dev/tty is the terminal."""
    master, slave = pty.openpty()
    try:
        process = _started(
            [sys.executable, "-c", _LAUNCH, slave, sys.executable, "-m", *arguments], [slave], environment
        )
        os.close(slave)
        screen = b""
        for prompt, answer in typed:
            seen = len(screen)
            while prompt.encode() not in screen[seen:]:
                ready, _, _ = select.select([master], [], [], _SECONDS)
                assert ready, f"{prompt!r} is not on the screen: {screen!r}"
                screen += os.read(master, 4096)
            os.write(master, answer.encode() + b"\n")
        stdout, stderr = process.communicate(stdin, timeout=_SECONDS)
        screen += _rest(master)
    finally:
        os.close(master)
    return Ended(process.returncode, stdout, stderr, screen.decode())


def without_a_terminal(arguments: Sequence[object], *, stdin: str = "", **environment: str) -> Ended:
    """Runs `python -m …` in a session that has no terminal."""
    process = _started([sys.executable, "-m", *arguments], [], environment, start_new_session=True)
    stdout, stderr = process.communicate(stdin, timeout=_SECONDS)
    return Ended(process.returncode, stdout, stderr, "")


def _started(
    command: Sequence[object],
    descriptors: Sequence[int],
    environment: dict[str, str],
    *,
    start_new_session: bool = False,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(one) for one in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=descriptors,
        start_new_session=start_new_session,
        env={**os.environ, **environment},
    )


def _rest(master: int) -> bytes:
    """What the ended program left on the screen."""
    found = b""
    while select.select([master], [], [], 0)[0]:
        try:
            found += os.read(master, 4096)
        except OSError:  # Linux reports so that nobody has the other end
            break
    return found
