"""The first process of a node's PID namespace: collects the orphans, and ends when told.

When it ends, the kernel kills every other process of the namespace. It runs with the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
while signal.sigwait({signal.SIGCHLD, signal.SIGTERM}) == signal.SIGCHLD:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
