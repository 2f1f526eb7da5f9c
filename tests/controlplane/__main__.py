"""`build`, `where` and `up`; see the package."""

from __future__ import annotations

import signal
import sys

from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import NAMES, ProgramsUnavailableError, programs


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ("build", "where", "up"):
        print("usage: python -m tests.controlplane build | where | up", file=sys.stderr)
        return 2
    try:
        found = programs(lambda line: print(line, file=sys.stderr, flush=True))
    except ProgramsUnavailableError as error:
        print(f"no control plane: {error}", file=sys.stderr)
        return 1
    if arguments[0] != "up":
        for name in NAMES:
            print(found[name])
        return 0
    with ControlPlane(found) as running:
        print(running.kubeconfig, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main(sys.argv[1:]))
