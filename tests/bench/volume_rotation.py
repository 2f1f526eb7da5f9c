"""Calls between replicas while the kubelet renews their certificates, on a real node:
`python -m tests.bench.volume_rotation`.

Kubernetes signs nothing shorter than an hour, and the kubelet renews at half of it, up to five minutes later:
each renewal takes about 36 minutes. Two replicas of the sample application by `vanadium.io/delivery: volume`
call each other by name once a second until both have a new certificate. Ends with 1 when a call failed.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.cluster.cluster import Parts, cluster_parts, running_cluster
from tests.cluster.installation import execute, install, name_of, rolled_out, wait_until_kubelets_can
from tests.cluster.workloads import PRINT_NAME, fortune, make_namespace
from tests.kubectl import Kubectl

PLACE = "bench"
APPLICATION = f"acme:prod:{PLACE}:default"
_CALL = ("python", "-m", "fortune", "get", "--expect", APPLICATION, "--connect")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.volume_rotation")
    parser.add_argument("--renewals", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0, help="end then, whether renewed or not")
    options = parser.parse_args()
    parts = cluster_parts(lambda line: print(line, file=sys.stderr, flush=True), {})
    assert isinstance(parts, Parts)
    with running_cluster(parts) as running:
        kubectl = running.kubectl
        install(kubectl)
        make_namespace(kubectl, PLACE)
        wait_until_kubelets_can(kubectl, PLACE)
        kubectl.apply(fortune(PLACE, "rotating", 2, "volume"))
        rolled_out(kubectl, PLACE, "rotating")
        sys.exit(watch(kubectl, options.renewals, options.minutes * 60))


def watch(kubectl: Kubectl, renewals: int, seconds: float) -> int:
    """The exit code: 0 when no call failed."""
    one, other = kubectl.get("pods", "-n", PLACE)["items"]
    began, calls, failed = time.monotonic(), 0, 0
    serials: dict[str, list[str]] = {name_of(one): [], name_of(other): []}
    while any(len(seen) <= renewals for seen in serials.values()):
        after = time.monotonic() - began
        if seconds and after > seconds:
            break
        for client, server in ((one, other), (other, one)):
            code, said = execute(
                kubectl, PLACE, name_of(client), "fortune", *_CALL, f"{server['status']['podIP']}:2345"
            )
            calls += 1
            if code != 0 or not said.startswith(f"{APPLICATION}:{name_of(server)}: "):
                failed += 1
                print(f"{after:7.0f} s  {name_of(client)} to {name_of(server)}: {said.strip()}", flush=True)
            serial = execute(kubectl, PLACE, name_of(client), "fortune", *PRINT_NAME)[1].split()[-1]
            if serial not in serials[name_of(client)]:
                serials[name_of(client)].append(serial)
                print(f"{after:7.0f} s  {name_of(client)} has the certificate {serial}", flush=True)
        time.sleep(1)
    renewed = sum(len(seen) - 1 for seen in serials.values())
    print(f"{calls} calls, {failed} failed, {renewed} renewals, {(time.monotonic() - began) / 60:.0f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    main()
