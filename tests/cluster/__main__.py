"""`build`, `up` and `clean`; see the package."""

from __future__ import annotations

import signal
import sys

from tests.cluster.cluster import cluster_parts, running_cluster
from tests.cluster.machine import clean
from tests.controlplane import control_plane
from tests.controlplane.programs import ProgramsUnavailableError
from tests.images.errors import ImagesUnavailableError


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in ("build", "up", "clean"):
        print("usage: python -m tests.cluster build | up | clean", file=sys.stderr)
        return 2
    if arguments[0] == "clean":
        clean()
        control_plane.clean()
        return 0
    try:
        parts = cluster_parts(lambda line: print(line, file=sys.stderr, flush=True))
    except (ProgramsUnavailableError, ImagesUnavailableError) as error:
        print(f"no cluster: {error}", file=sys.stderr)
        return 1
    if arguments[0] == "up":
        stop = {signal.SIGINT, signal.SIGTERM}
        with running_cluster(parts) as running:
            kubectl = running.kubectl
            path = f"{kubectl.program.parent}:$PATH"
            print(f"export KUBECONFIG={kubectl.kubeconfig} PATH={path}", flush=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, stop)
            signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    # As Ctrl-C does, so that what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
