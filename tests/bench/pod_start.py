"""From the creation of a Pod to its first blessing, on a real node: `python -m tests.bench.pod_start`.

Fifty Pods, one after the other, each split by stage; then the memory of a pod agent's container as its
control group counts it. Beside them, in the same run, a fifth as many Pods without identity: what Kubernetes
itself takes.

Times are those of who did the work: the API server's audit log, containerd's log, the pod agent's log.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tests.cluster.cgroups import memory_of
from tests.cluster.cluster import Parts, cluster_parts, running_cluster
from tests.cluster.installation import POD_AGENT, container_status, install
from tests.cluster.node import Node
from tests.cluster.workloads import namespace, pod
from tests.kubectl import Kubectl
from tests.waiting import wait_for

PLACE = "bench"
DISABLED = {"vanadium.io/inject": "disabled"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pod_start")
    parser.add_argument("--pods", type=int, default=50)
    count = parser.parse_args().pods
    parts = cluster_parts(lambda line: print(line, file=sys.stderr, flush=True), {})
    assert isinstance(parts, Parts)
    with running_cluster(parts) as running:
        kubectl, node = running.kubectl, running.node
        assert node is not None
        install(kubectl)
        kubectl.apply(namespace(PLACE))
        wait_for("Secret", lambda: kubectl.exists("secret", "vanadium-bootstrap", "-n", PLACE))
        with_identity = [started(kubectl, node, f"with-{number}", {}) for number in range(count)]
        without = [
            started(kubectl, node, f"without-{number}", DISABLED) for number in range(max(2, count // 5))
        ]
        print(f"{count} Pods, one after the other; milliseconds       p50    p95")
        report("admitted and stored", with_identity, "received", "stored")
        report("scheduled", with_identity, "stored", "scheduled")
        report("volumes mounted, sandbox ready", with_identity, "scheduled", "sandbox")
        report("pod agent's container started", with_identity, "sandbox", "container")
        report("pod agent listens", with_identity, "container", "listening")
        report("blessed", with_identity, "listening", "blessed")
        report("FROM CREATION TO FIRST BLESSING", with_identity, "received", "blessed")
        report("application started, with identity", with_identity, "received", "application")
        report("application started, without identity", without, "received", "application")
        memory = measure_memory(kubectl, node)
        print("memory of the pod agent's container (cgroup), MiB:", ", ".join(memory))


def started(kubectl: Kubectl, node: Node, name: str, labels: dict[str, str]) -> dict[str, datetime]:
    """Creates a Pod, waits until it is ready, and reads when each stage was reached."""
    kubectl("create", "-f", "-", stdin=json.dumps(pod(PLACE, name, {}, **labels)))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", PLACE, "--timeout=60s")
    found = kubectl.get("pod", name, "-n", PLACE)
    times = audited(node.control_plane.audit_log, name)
    log = node.log_of("containerd")
    times["sandbox"] = logged(log, rf'RunPodSandbox for name:\\"{name}\\".* returns sandbox id')
    identifiers = {"application": container_status(found, "app")["containerID"]}
    if not labels:
        identifiers["container"] = container_status(found, POD_AGENT)["containerID"]
        lines = kubectl("logs", "-n", PLACE, name, "-c", POD_AGENT).stdout.splitlines()
        events = {line["event"]: datetime.fromisoformat(line["timestamp"]) for line in map(json.loads, lines)}
        times |= {"listening": events["started"], "blessed": events["blessed"]}
    for stage, identifier in identifiers.items():
        container_id = identifier.removeprefix("containerd://")
        times[stage] = logged(log, rf'StartContainer for \\"{container_id}\\" returns successfully')
    kubectl("delete", "pod", name, "-n", PLACE, "--wait=false")
    return times


def audited(log: Path, name: str) -> dict[str, datetime]:
    """When the API server received, stored and bound the Pod."""
    times = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        reference = event.get("objectRef", {})
        if event["verb"] != "create" or reference.get("resource") != "pods" or reference.get("name") != name:
            continue
        done = datetime.fromisoformat(event["stageTimestamp"])
        if reference.get("subresource") == "binding":
            times["scheduled"] = done
        elif "subresource" not in reference:
            times |= {"received": datetime.fromisoformat(event["requestReceivedTimestamp"]), "stored": done}
    return times


def logged(log: str, pattern: str) -> datetime:
    """When containerd wrote the line."""
    (line,) = [line for line in log.splitlines() if re.search(pattern, line)]
    time = re.match(r'time="([^"]+)Z"', line)
    assert time is not None
    return datetime.fromisoformat(f"{time[1][:26]}+00:00")


def report(what: str, pods: Sequence[dict[str, datetime]], begin: str, end: str) -> None:
    milliseconds = [(one[end] - one[begin]).total_seconds() * 1000 for one in pods]
    p50, p95 = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=20)[18]
    print(f"  {what:44} {p50:6.0f} {p95:6.0f}")


def measure_memory(kubectl: Kubectl, node: Node) -> list[str]:
    kubectl.apply(pod(PLACE, "memory", {}))
    kubectl("wait", "--for=condition=Ready", "pod/memory", "-n", PLACE, "--timeout=60s")
    identifier = container_status(kubectl.get("pod", "memory", "-n", PLACE), POD_AGENT)["containerID"]
    group = node.container_cgroup("memory", identifier.removeprefix("containerd://"))
    return [f"{name} {value / 2**20:.1f}" for name, value in memory_of(group).items()]


if __name__ == "__main__":
    main()
