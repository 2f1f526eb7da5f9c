"""PodCertificateRequests signed a second and core, through a real API server; none is lost when the cluster
agent is killed in the middle. SeekBlessings beside it, on the same machine, with the same TokenReview.

    python -m tests.bench.pod_requests [--requests 10000] [--store sqlite|postgresql] [--seeks 1000]

The requests are made first, so that the agent finds all of them. It is pinned to one core; the API server,
etcd and this program have the others. Rates are per second of the agent's own processor time, and by the
clock, which here measures the API server too: it has a read and a write for each request, as it has a
TokenReview for each SeekBlessings. Then as many are made again, and the agent is killed when it has answered
half of them, and started again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from blessings import Blessing
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent, with_interpreter
from tests.controlplane.control_plane import ControlPlane
from tests.controlplane.programs import programs
from tests.endtoend.pod_certificates import apply_manifests, settings
from tests.kubelets import Kubelets
from tests.postgresql import running_postgresql

_NODE, _NAMESPACES = "bench-node", ("bench-0", "bench-1", "bench-2", "bench-3")
# A Pod has at most sixteen certificates of a full life.
_OF_A_POD = 8
_TICKS = os.sysconf("SC_CLK_TCK")
_REQUESTS = "/apis/certificates.k8s.io/v1/podcertificaterequests"


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000, help="in all; half of them with a kill")
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seeks", type=int, default=1000, help="SeekBlessings beside; 0 for none")
    arguments = parser.parse_args()
    if arguments.seeks:
        _seek_blessings(arguments.seeks, arguments.store)
    half = arguments.requests // 2
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vanadium-bench-")))
        os.sched_setaffinity(0, _other_cores())
        control_plane = stack.enter_context(ControlPlane(programs(_say)))
        apply_manifests(control_plane)
        flags = settings(control_plane, directory)
        if arguments.store == "postgresql":
            server = stack.enter_context(running_postgresql(survives_power_cut=True))
            flags["database_url"] = server.new_database()
        kubelets = stack.enter_context(Kubelets(control_plane))
        kubelets.node(_NODE)
        for namespace in _NAMESPACES:
            kubelets.namespace(namespace)
        began = time.perf_counter()
        _ask(kubelets, half, "first")
        print(f"{half} requests made in {time.perf_counter() - began:.0f} s", flush=True)
        with _agent(directory, flags) as agent:
            began = time.perf_counter()
            _until_issued(agent, half)
            clock, processor = time.perf_counter() - began, _processor_seconds(agent.process.pid)
            print(f"memory of the agent: {_resident_mebibytes(agent.process.pid):.0f} MiB")
        print(
            f"{half / processor:.0f}/s of a core, {1000 * processor / half:.2f} ms of it each, its start "
            f"included; {half / clock:.0f}/s by the clock",
            flush=True,
        )
        _ask(kubelets, half, "second")
        with _agent(directory, flags) as agent:
            _until_issued(agent, half // 2)
            agent.process.send_signal(9)
            agent.process.wait()
        with _agent(directory, flags) as agent:
            serials = _until_all(kubelets, agent, 2 * half)
    print(f"killed in the middle: {len(serials)} of {2 * half} answered, each with a certificate of its own")


def _ask(kubelets: Kubelets, requests: int, prefix: str) -> None:
    def pod(number: int) -> None:
        namespace = _NAMESPACES[number % len(_NAMESPACES)]
        made = kubelets.pod(namespace, f"{prefix}-{number}", node=_NODE)
        body = kubelets.request(made)
        for _ in range(min(_OF_A_POD, requests - number * _OF_A_POD)):
            kubelets.asked_again(namespace, _NODE, body)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(pod, range(-(-requests // _OF_A_POD))))


@contextmanager
def _agent(directory: Path, flags: dict[str, Any]) -> Iterator[RunningClusterAgent]:
    """The program, with one core of its own."""
    with running_cluster_agent(directory, start=with_interpreter(sys.executable), **flags) as agent:
        for thread in Path(f"/proc/{agent.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {0})
        yield agent


def _until_issued(agent: RunningClusterAgent, wanted: int) -> None:
    """Until this agent has answered so many."""
    pattern = re.compile(
        r'^vanadium_cluster_agent_pod_requests_total\{.*result="issued"\} (\S+)$', re.MULTILINE
    )
    while True:
        assert agent.process.poll() is None, agent.log()
        found = pattern.search(httpx.get(f"{agent.health_url}/metrics/", timeout=60).text)
        if found is not None and float(found[1]) >= wanted:
            return
        time.sleep(0.25)


def _until_all(kubelets: Kubelets, agent: RunningClusterAgent, wanted: int) -> set[int]:
    """The serial numbers of the certificates in all requests, once each has one."""
    while True:
        assert agent.process.poll() is None, agent.log()
        chains, total = [], 0
        for status in _statuses(kubelets):
            total += 1
            chains += [status["certificateChain"]] if "certificateChain" in status else []
        if total != wanted:
            raise SystemExit(f"{wanted} requests made, {total} found: Kubernetes deletes them after a while")
        if len(chains) == wanted:
            break
        time.sleep(1)
    serials = {Blessing.from_pem(chain).leaf.serial_number for chain in chains}
    if len(serials) != wanted:
        raise SystemExit(f"{wanted} requests have {len(serials)} certificates")
    return serials


def _statuses(kubelets: Kubelets) -> Iterator[dict[str, Any]]:
    following = ""
    while True:
        answer = kubelets.api.get(_REQUESTS, params={"limit": "500", "continue": following}).json()
        yield from (one.get("status") or {} for one in answer["items"])
        following = answer["metadata"].get("continue", "")
        if not following:
            return


def _seek_blessings(seeks: int, store: str) -> None:
    print("SeekBlessings:", flush=True)
    arguments = ["--attestor", "token-review", "--store", store, "--live", "100", "--requests", str(seeks)]
    subprocess.run([sys.executable, "-m", "tests.bench.issuing", *arguments], check=True)
    print("PodCertificateRequests:", flush=True)


def _other_cores() -> set[int]:
    return set(range(os.cpu_count() or 1)) - {0} or {0}


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mebibytes(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
