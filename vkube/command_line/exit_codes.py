"""The exit codes of vkube; docs/vkube.md explains them to users."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the status of the process means."""

    DONE = 0
    FAILED = 1
    """The command was refused, or failed."""
    WRONG_USAGE = 2
    """The command line or vkube.cfg is wrong; nothing was done."""
    UNREACHABLE = 3
    """The API server or the cluster agent did not answer."""
    FINDINGS = 4
    """The command worked, and found something that needs attention (`check`, `preflight`, `explain`)."""
    INTERRUPTED = 130
    """Ctrl-C."""


MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "refused, or failed; the message on standard error states why and what to do",
    ExitCode.WRONG_USAGE: "the command line or `vkube.cfg` is wrong; nothing was done",
    ExitCode.UNREACHABLE: "the API server or the cluster agent did not answer",
    ExitCode.FINDINGS: "the command worked, and found something that needs attention",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
}
