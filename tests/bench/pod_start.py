"""From the creation of a Pod to its identity, on a real node: `python -m tests.bench.pod_start`.

Fifty Pods, one after the other, each split by stage, to the pod agent's first blessing; in turn with each,
the same Pod with a startup wait of ten seconds, with a volume, to the kubelet's file, and without identity:
what Kubernetes itself takes. Then
the memory of a pod agent's container as its control group counts it, before and after its first client of
the Workload API.

Times are those of the program that did the work: the API server's audit log, containerd's log, the pod
agent's log, the kubelet's log, and the time at which the kubelet wrote the file. The rows below "blessed" are
the kubelet's steps from the pod agent's container to the application's; docs/reference.md explains them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.cluster.cgroups import memory_of
from tests.cluster.cluster import Parts, cluster_parts, running_cluster
from tests.cluster.installation import (
    POD_AGENT,
    container_status,
    container_statuses,
    execute,
    install,
    wait_until_kubelets_can,
)
from tests.cluster.node import NAME, Node
from tests.cluster.workloads import PRINT_ID, namespace, pod
from tests.kubectl import Kubectl
from tests.waiting import wait_for
from webhook.annotations import STARTUP_WAIT
from webhook.layout import DELIVERY_ANNOTATION as DELIVERY

PLACE = "bench"
# The Pods' labels and annotations.
KINDS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "pod agent": ({}, {DELIVERY: "sidecar"}),
    "startup-wait": ({}, {DELIVERY: "sidecar", STARTUP_WAIT: "10s"}),
    "volume": ({}, {DELIVERY: "volume"}),
    "without": ({"vanadium.io/inject": "disabled"}, {}),
}
_WRITTEN = "import os; print(os.stat(os.environ['VANADIUM_CREDENTIAL_FILE']).st_mtime)"
STAGES = (
    ("admitted and stored", "received", "stored"),
    ("scheduled", "stored", "scheduled"),
    ("volumes mounted, sandbox ready", "scheduled", "sandbox"),
    ("pod agent's container started", "sandbox", "container"),
    ("pod agent listens", "container", "listening"),
    ("blessed", "listening", "blessed"),
    ("the kubelet sees the container run", "container", "seen"),
    ("it begins the startup probe", "seen", "probing"),
    ("the startup probe succeeds", "probing", "succeeded"),
    ("it begins the application's container", "succeeded", "creating"),
    ("application's container started", "creating", "application"),
    ("the kubelet wrote the file", "scheduled", "file"),
    ("application started", "sandbox", "application"),
    ("FROM THE BLESSING TO THE APPLICATION'S START", "blessed", "application"),
    ("FROM CREATION TO FIRST BLESSING", "received", "blessed"),
    ("FROM CREATION TO THE KUBELET'S FILE", "received", "file"),
    ("FROM CREATION TO THE APPLICATION'S START", "received", "application"),
)
Times = dict[str, datetime]
# At this verbosity the kubelet's log has the steps that `kubelet_steps` looks for.
VERBOSITY = "4"
_KUBELET_TIME = "%Y%m%d %H:%M:%S.%f"
# Makes the kernel forget the content of all images' files.
FORGET = """
import os
for directory, _, names in os.walk("/var/lib/containerd"):
    for path in (os.path.join(directory, name) for name in names):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                os.fdatasync(file)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
"""


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
        # Where the kernel has not read the image's files, they count for the first replica of the node.
        node.machine.run(sys.executable, "-c", FORGET)
        first = measure_memory(kubectl, node, "first")
        wait_until_kubelets_can(kubectl, PLACE)
        kubectl("replace", "--raw", f"/api/v1/nodes/{NAME}/proxy/debug/flags/v", "-f", "-", stdin=VERBOSITY)
        pods: dict[str, list[Times]] = {kind: [] for kind in KINDS}
        for number in range(count):
            for kind, (labels, annotations) in KINDS.items():
                name = f"{kind.replace(' ', '-')}-{number}"
                pods[kind].append(started(kubectl, node, name, labels, annotations))
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        print(f"{f'{count} Pods of each kind, in turn':44}" + "".join(f"{kind:>14}" for kind in KINDS))
        print(f"{'milliseconds':44}" + "    p50    p95" * len(KINDS))
        for what, begin, end in STAGES:
            report(what, begin, end, *pods.values())
        last = measure_memory(kubectl, node, "last")
        print("\nthe pod agent's container (cgroup), MiB   working set  anonymous       peak")
        for which, figures in {"first replica on the node": first, "later replica": last}.items():
            for when, memory in figures.items():
                print(f"{which + ', ' + when:42} {memory}")
        print("with a volume there is no container beside the application: 0")


def started(
    kubectl: Kubectl, node: Node, name: str, labels: dict[str, str], annotations: dict[str, str]
) -> Times:
    """Creates a Pod, waits until it is ready, and reads when each stage was reached."""
    made = pod(PLACE, name, {}, **labels)
    made["metadata"]["annotations"] = annotations
    kubectl("create", "-f", "-", stdin=json.dumps(made))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", PLACE, "--timeout=60s")
    found = kubectl.get("pod", name, "-n", PLACE)
    times = audited(node.control_plane.audit_log, name)
    log = node.log_of("containerd")
    times["sandbox"] = logged(log, rf'RunPodSandbox for name:\\"{name}\\".* returns sandbox id')
    identifiers = {"application": container_status(found, "app")["containerID"]}
    if annotations.get(DELIVERY) == "volume":
        assert len(container_statuses(found)) == 1, "nothing runs beside the application"
        written = kubectl("exec", "-n", PLACE, name, "--", "python", "-c", _WRITTEN).stdout
        times["file"] = datetime.fromtimestamp(float(written), UTC)
    elif not labels:
        identifiers["container"] = container_status(found, POD_AGENT)["containerID"]
        lines = kubectl("logs", "-n", PLACE, name, "-c", POD_AGENT).stdout.splitlines()
        events = {line["event"]: datetime.fromisoformat(line["timestamp"]) for line in map(json.loads, lines)}
        times |= {"listening": events["started"], "blessed": events["blessed"]}
    for stage, identifier in identifiers.items():
        container_id = identifier.removeprefix("containerd://")
        times[stage] = logged(log, rf'StartContainer for \\"{container_id}\\" returns successfully')
        if stage == "container" and STARTUP_WAIT not in annotations:
            times |= kubelet_steps(node.log_of("kubelet"), name, container_id)
    kubectl("delete", "pod", name, "-n", PLACE, "--wait=false")
    return times


def audited(log: Path, name: str) -> Times:
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


def kubelet_steps(log: str, name: str, container_id: str) -> Times:
    """When the kubelet took each step from a pod agent's container to the application's."""
    lines = [line for line in log.splitlines() if f'pod="{PLACE}/{name}"' in line]
    steps = {
        "seen": rf'\(PLEG\): event for pod.*"ContainerStarted".*{container_id}',
        "probing": "Exec-Probe runProbe",
        "succeeded": "Probe succeeded",
        "creating": 'Creating container in pod.*container="app"',
    }
    return {step: _kubelet_time(next(filter(re.compile(at).search, lines))) for step, at in steps.items()}


def _kubelet_time(line: str) -> datetime:
    """The time of a line such as `I1128 18:58:30.038991      70 kubelet.go:2788] ...`, which is local and has
    no year."""
    day, time = line.split()[:2]
    return datetime.strptime(f"{datetime.now(UTC).year}{day[1:]} {time}", _KUBELET_TIME).astimezone(UTC)


def report(what: str, begin: str, end: str, *kinds: Sequence[Times]) -> None:
    print(f"  {what:42}" + "".join(columns(begin, end, pods) for pods in kinds))


def columns(begin: str, end: str, pods: Sequence[Times]) -> str:
    """The p50 and p95 of a stage, in milliseconds; nothing where these Pods do not have it."""
    if not {begin, end} <= pods[0].keys():
        return f"{'-':>7}{'-':>7}"
    milliseconds = [(one[end] - one[begin]).total_seconds() * 1000 for one in pods]
    return f"{statistics.median(milliseconds):7.0f}{statistics.quantiles(milliseconds, n=20)[18]:7.0f}"


def measure_memory(kubectl: Kubectl, node: Node, name: str) -> dict[str, str]:
    """The memory of a Pod's agent before and after its first client."""
    kubectl.apply(pod(PLACE, name, {}))
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", PLACE, "--timeout=60s")
    identifier = container_status(kubectl.get("pod", name, "-n", PLACE), POD_AGENT)["containerID"]
    group = node.container_cgroup("memory", identifier.removeprefix("containerd://"))
    figures = {"before a client": mebibytes(group)}
    code, said = execute(kubectl, PLACE, name, "app", *PRINT_ID)
    assert code == 0, said
    return figures | {"after one": mebibytes(group)}


def mebibytes(group: Path) -> str:
    return " ".join(f"{value / 2**20:10.1f}" for value in memory_of(group).values())


if __name__ == "__main__":
    main()
