"""What a pod agent weighs, and how fast it starts: `python -m tests.bench.sidecar`.

Four tables. What each library adds to a bare Python process: those that the pod agent loads, and those that
it did without (`old`). What loading the program takes in its image. A pod agent in its image's files, after
its first blessing, with the time to it. What a thousand streams of the Workload API add, on one connection
and on a hundred. Images take root and runc.

Times are those of this machine at that moment; beside them, in the same run, is a peer that only makes the
same TLS connection from a bare Python process. The processor's time depends less on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.checkout import CHECKOUT
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.images.unpacked import Container, chrooted, runnable_images
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory

MEBIBYTE = 1 << 10  # in the kernel's kB
_FLOORS = {
    "Python": "pass",
    "asyncio, ssl": "import asyncio, ssl",
    "+ cryptography's x509": "import asyncio, ssl, cryptography.x509",
    "+ blessings": "import asyncio, ssl, blessings, blessings.tls",
    "  + h11": "import asyncio, ssl, blessings, blessings.tls, h11",
    "  + h2": "import asyncio, ssl, blessings, blessings.tls, h2.connection",
    "  + grpclib, protobuf (old)": "import asyncio, ssl, blessings, grpclib.server, google.protobuf.message",
    "  + httpx (old)": "import asyncio, ssl, blessings, httpx",
    "  + uvicorn, starlette (old)": "import asyncio, ssl, blessings, uvicorn, starlette.applications",
    "  + structlog (old)": "import asyncio, ssl, blessings, structlog",
    "  + prometheus_client (old)": "import asyncio, ssl, blessings, prometheus_client",
    "  + all of the old": "import asyncio, ssl, blessings, blessings.tls, grpclib.server, httpx, uvicorn, "
    "google.protobuf.message, starlette.applications, structlog, prometheus_client",
    "pod agent's imports": "import pod_agent.__main__",
    "  and its gRPC, at the first client": "import pod_agent.__main__; "
    "from pod_agent.grpc.server import GrpcServer; GrpcServer({}).connection()",
}
_PYTHON = "/opt/vanadium/bin/python"
_TOOK = "import time; print(time.process_time())"
# Ways to load the program in its image: flags, and code.
_LOADED = {
    "bare Python": (("-I", "-S", "-OO"), "pass"),
    "by the import system": (("-I", "-OO"), "import pod_agent.__main__"),
    "by start.py, as it is": (
        ("-I", "-S", "-OO"),
        "import marshal; start = {'__name__': 'start', '__file__': '/opt/vanadium/start.pyc'}; "
        "exec(marshal.loads(open(start['__file__'], 'rb').read()[16:]), start); start['program']()",
    ),
}
_PEER = """
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
host, port = sys.argv[1:]
try:
    context.wrap_socket(socket.create_connection((host, int(port)))).close()
except ssl.SSLError:
    pass
"""
_STREAMS = """
import sys, grpc
from tests.workload_api import x509_svids
connections, each, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
options = [("grpc.use_local_subchannel_pool", 1)]
channels = [grpc.insecure_channel(target, options=options) for _ in range(connections)]
streams = [x509_svids(channel) for channel in channels for _ in range(each)]
for stream in streams:
    next(stream)
print("open", flush=True)
sys.stdin.readline()
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sidecar")
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    archive = runnable_images(lambda line: print(line, file=sys.stderr))["pod-agent"]
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"\n{'MiB, with -OO':44} RSS  anonymous  processor s")
    for name, code in _FLOORS.items():
        resident, anonymous, seconds = imported(code)
        print(f"{name:40} {resident:7.1f} {anonymous:10.1f} {seconds:12.2f}")
    loaded(archive, runs)
    with (
        tempfile.TemporaryDirectory() as agent_directory,
        running_cluster_agent(Path(agent_directory)) as agent,
        short_directory() as directory,
    ):
        program = chrooted(archive, directory)
        started(program, directory, agent, runs)
        with one_pod_agent(program, directory, agent) as running:
            print("\nstreams of the Workload API               MiB more than before")
            for connections, each in ((1, 1), (1, 1000), (100, 10)):
                added = streams(running, connections, each)
                print(f"{connections * each:5} on {connections:3} connections {added:26.1f}")


def loaded(archive: Path, runs: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        container = Container(archive, Path(directory))
        took: dict[str, list[float]] = {way: [] for way in _LOADED}
        for _ in range(runs):
            for way, (flags, code) in _LOADED.items():
                _, said = container.run(entrypoint=[_PYTHON, *flags, "-c", f"{code}\n{_TOOK}"])
                took[way].append(1000 * float(said))
    print(f"\nloaded in the image, {runs} times             p50     p95   least")
    for way, milliseconds in took.items():
        report(f"of the processor, ms: {way}", milliseconds, end=f" {min(milliseconds):7.1f}\n")


def started(program: Sequence[str], directory: Path, agent: RunningClusterAgent, runs: int) -> None:
    took, peers = [], []
    for _ in range(runs):
        peers.append(peer(agent.url))
        began = datetime.now(UTC)
        with one_pod_agent(program, directory, agent) as running:
            elapsed = first_identity(running) - began
            processor = processor_seconds_of(running.process.pid)
            took.append((elapsed.total_seconds(), processor, *memory(running.process.pid)))
    print(f"\npod agent, {runs} times                        p50     p95")
    report("start to first blessing, ms", [1000 * one[0] for one in took])
    report("  of the processor, ms", [1000 * one[1] for one in took])
    report("peer: Python and a TLS connection, ms", [1000 * one for one in peers])
    report("resident after it, MiB", [one[2] for one in took])
    report("anonymous after it, MiB", [one[3] for one in took])


def first_identity(running: RunningPodAgent) -> datetime:
    lines = [json.loads(line) for line in running.log().splitlines()]
    (at,) = [line["timestamp"] for line in lines if line["event"] == "first identity"]
    return datetime.fromisoformat(at)


@contextmanager
def one_pod_agent(
    program: Sequence[str], root: Path, agent: RunningClusterAgent
) -> Iterator[RunningPodAgent]:
    """Blessed."""
    with tempfile.TemporaryDirectory(dir=root) as directory:
        mount(Path(directory), agent)
        with running_pod_agent(Path(directory), agent.url, program) as running:
            running.wait_until_blessed()
            yield running


def report(name: str, values: list[float], end: str = "\n") -> None:
    ninety_fifth = sorted(values)[min(len(values) - 1, int(len(values) * 0.95))]
    print(f"{name:42} {statistics.median(values):7.1f} {ninety_fifth:7.1f}", end=end)


def imported(code: str) -> tuple[float, float, float]:
    """The memory of a process that only does this, and the processor's seconds that it took."""
    script = f"{code}\nprint(flush=True)\ninput()"
    command = [sys.executable, "-OO", "-c", script]
    # The first one writes the bytecode.
    subprocess.run(command, input=b"\n", stdout=subprocess.DEVNULL, check=True, cwd=CHECKOUT)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = (*memory(process.pid), processor_seconds_of(process.pid))
        process.communicate(b"\n")
    return found


def memory(pid: int) -> tuple[float, float]:
    """Resident, and of that anonymous, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident, anonymous = (
        int(status.split(f"{name}:")[1].split()[0]) / MEBIBYTE for name in ("VmRSS", "RssAnon")
    )
    return resident, anonymous


def processor_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peer(url: str) -> float:
    host, _, port = url.removeprefix("https://").partition(":")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _PEER, host, port], check=True)
    return time.perf_counter() - began


def streams(running: RunningPodAgent, connections: int, each: int) -> float:
    """How many MiB they add while they are open."""
    before = memory(running.process.pid)[1]
    command = [sys.executable, "-c", _STREAMS, str(connections), str(each), running.workload_socket]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT) as client:
        assert client.stdout is not None
        client.stdout.readline()
        added = memory(running.process.pid)[1] - before
        client.communicate(b"\n")
    return added


if __name__ == "__main__":
    main()
