"""Single lines: results, and notes beside them."""

from __future__ import annotations

import sys


def result(line: str) -> None:
    """A line of the command's result, on standard output. It is there at once, also in a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def note(line: str) -> None:
    """Progress or an explanation, on standard error."""
    sys.stderr.write(f"{line}\n")


def warning(line: str) -> None:
    """A warning, on standard error."""
    note(f"warning: {line}")
