"""Memory of a pod agent and its time to the first blessing: `python -m tests.bench.sidecar`.

Beside them, in the same run, what a Python process that only imports the same libraries needs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster_agents import running_cluster_agent
from tests.pod_agent.running import mount, running_pod_agent, short_directory

RUNS = 10
_IMPORTS = "import time, pod_agent.__main__; print('up', flush=True); time.sleep(60)"


def main() -> None:
    seconds, kilobytes = [], []
    with (
        tempfile.TemporaryDirectory() as agent_directory,
        running_cluster_agent(Path(agent_directory)) as agent,
    ):
        for _ in range(RUNS):
            with short_directory() as directory:
                mount(directory, agent)
                began = time.perf_counter()
                with running_pod_agent(directory, agent.url) as running:
                    running.wait_until_blessed()
                    seconds.append(time.perf_counter() - began)
                    kilobytes.append(running.resident_kilobytes())
    imports, imported = _imports_alone()
    print(f"start to first blessing: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")
    print(f"  of which its imports:  {imports:.2f} s")
    print(f"resident memory after it: median {statistics.median(kilobytes) / 1024:.1f} MiB")
    print(f"  of which its imports:   {imported / 1024:.1f} MiB")


def _imports_alone() -> tuple[float, int]:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", _IMPORTS], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    seconds = time.perf_counter() - began
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.kill()
    process.wait()
    process.stdout.close()
    return seconds, int(status.split("VmRSS:")[1].split()[0])


if __name__ == "__main__":
    main()
