"""h2load against an HTTPS server on one core, and nginx with a static answer to be compared with.

Both are Debian's: `apt-get install nginx-light nghttp2-client`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster_agents import free_port
from tests.endtoend.program import Runtime, program
from tests.waiting import wait_for

# Where all of a benchmark runs on one core, rates compare what each request costs.
ON_ONE_CORE = ("taskset", "-c", "0")
_TICKS = os.sysconf("SC_CLK_TCK")
_FINISHED = re.compile(r"finished in .*?, ([\d.]+) req/s")


@dataclass(frozen=True)
class Server:
    """A server that listens at a port of 127.0.0.1. `pid` is the process that does the work."""

    name: str
    port: int
    pid: int

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True)
class Load:
    """What a server did under load: a second, in milliseconds, and in microseconds of processor time each."""

    rate: float
    middle: float
    slow: float
    processor: float


def is_available() -> bool:
    return all(map(shutil.which, ("nginx", "h2load", "taskset")))


def load(server: Server, body: Path, connections: int, seconds: int) -> Load:
    """Reviews over kept-alive connections, one at a time on each."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", f"-d{body}"]
        before = server.processor_seconds()
        done = subprocess.run(
            [
                *ON_ONE_CORE,
                *command,
                *("-H", "content-type: application/json", f"--log-file={log}"),
                f"https://127.0.0.1:{server.port}/mutate?timeout=5s",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        spent = server.processor_seconds() - before
        lines = [line.split() for line in log.read_text().splitlines()]
    times = sorted(int(took) / 1000 for _, status, took in lines if status == "200")
    assert len(times) == len(lines), "not every answer was 200"
    found = _FINISHED.search(done.stdout)
    assert found is not None, done.stdout
    count = len(times)
    return Load(float(found[1]), times[count // 2], times[count * 99 // 100], spent / count * 1e6)


def is_machine_code(pid: int) -> bool:
    """Whether this webhook is. Another version of Python than it was compiled for loads the sources."""
    return "webhook__mypyc" in Path(f"/proc/{pid}/maps").read_text()


@contextmanager
def webhook(directory: Path, chain: Path, key: Path, python: str, compiled: Path) -> Iterator[Server]:
    """The program, as the image runs it, with its log in a file. `compiled` has its package."""
    port, log = free_port(), directory / "webhook.log"
    with program(
        "webhook",
        directory,
        Runtime((*ON_ONE_CORE, python, "-OO"), compiled),
        host="127.0.0.1",
        port=port,
        pod_agent_image="registry.example/pod-agent:1",
        reconcile="false",
        tls_certificate_file=chain,
        tls_key_file=key,
    ) as process:
        wait_for("the webhook", lambda: b"running on" in log.read_bytes(), story=log.read_text)
        assert is_machine_code(process.pid)
        yield Server("webhook", port, process.pid)


@contextmanager
def nginx(
    directory: Path, chain: Path, key: Path, answer: bytes, prefix: Sequence[str] = ON_ONE_CORE
) -> Iterator[Server]:
    """nginx with one worker, which answers every request with the file `answer`. `prefix` runs it."""
    port = free_port()
    static = directory / "static"
    static.mkdir()
    (static / "mutate").write_bytes(answer)
    for path in (directory, static, *directory.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o055)
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"""
        daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log error;
        events {{ worker_connections 512; }}
        http {{
          access_log off; keepalive_requests 1000000000; default_type application/json;
          client_body_temp_path {directory}/bodies;
          server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {chain}; ssl_certificate_key {key};
            root {static}; error_page 405 =200 /mutate;  # a file is not for POST
          }}
        }}
        """
    )
    process = subprocess.Popen([*prefix, "nginx", "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        worker = int(wait_for("nginx's worker", lambda: children.read_text().split())[0])
        time.sleep(0.5)
        yield Server("nginx", port, worker)
    finally:
        process.terminate()
        process.wait()
