"""What a normal tenant notices of a hostile one beside it, for each kind of hostility:

    python -m tests.bench.tenants [--seconds 20] [KIND ...]

Starts the real programs with their default limits (`namespaces` and `accounts` also a real API server), and
lets a normal tenant call, first alone and then beside a hostile one. Ends with a table: the normal tenant's
p99 and failures, and the peak of each program's resident memory beside its limit in deploy/. A call fails
also when it takes longer than its caller would wait: 10 s for a pod agent, 5 s for an API server.

Exits with 1 when a call of the normal tenant failed, or a program exceeded its limit.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.tenants import at_cluster_agent, at_pod_agent, at_reconciler, at_webhook
from tests.bench.tenants.measure import Outcome, table

KINDS: dict[str, Callable[[Path, float], Outcome]] = {
    "namespaces": at_reconciler.failing_namespaces,
    "accounts": at_reconciler.many_accounts,
    "connections": at_cluster_agent.held_connections,
    "tokens": at_cluster_agent.junk_tokens,
    "lists": at_cluster_agent.slow_readers,
    "registering": at_cluster_agent.registering,
    "bodies": at_webhook.held_bodies,
    "sockets": at_pod_agent.held_sockets,
}


def main() -> int:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all by default")
    parser.add_argument("--seconds", type=float, default=20, help="without, and with the hostile tenant")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - KINDS.keys():
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    outcomes: list[Outcome] = []
    for kind in arguments.kinds or KINDS:
        print(f"{kind} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="vanadium-bench-") as directory:
            outcomes.append(KINDS[kind](Path(directory), arguments.seconds))
    print(table(outcomes))
    problems = [f"{one.attack}: {problem}" for one in outcomes for problem in one.problems]
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
