"""Two applications behind Envoys of their own, with the configurations of examples/envoy, on this machine."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import httpx

from tests.checkout import CHECKOUT
from tests.clients.document import replaced
from tests.cluster_agents import RunningClusterAgent, free_port
from tests.pod_agent.running import RunningPodAgent, mount, running_pod_agent, short_directory
from tests.waiting import PATIENCE_SECONDS, wait_for

SOCKET = "/run/vanadium/workload.sock"
# Each request is a handshake, and a whole one: `max_session_keys` is 0.
ONE_REQUEST = """
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          common_http_protocol_options: {max_requests_per_connection: 1}
          explicit_http_config: {http_protocol_options: {}}"""
NO_CHANGES: Mapping[str, str] = MappingProxyType({})
EXAMPLE = CHECKOUT / "examples" / "envoy"


class Application(BaseHTTPRequestHandler):
    """Answers with the name of its caller, as Envoy states it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.headers.get("x-forwarded-client-cert", "").rpartition(";URI=")[2].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def application() -> Iterator[int]:
    """The port of an application."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@dataclass
class RunningEnvoy:
    process: subprocess.Popen[bytes]
    log_file: Path
    admin: str

    def log(self) -> str:
        return self.log_file.read_text()

    def ask(self, path: str) -> httpx.Response:
        """What its administration answers."""
        return httpx.get(f"{self.admin}{path}")

    def certificate(self) -> dict[str, Any]:
        """The one that it presents, as it describes it: `serial_number`, `expiration_time`."""
        (found,) = self.ask("/certs").json()["certificates"]
        shown: dict[str, Any] = found["cert_chain"][0]
        return shown

    def counters(self, prefix: str) -> dict[str, int]:
        lines = self.ask(f"/stats?filter={quote(prefix)}").text.splitlines()
        found = (line.rpartition(": ") for line in lines)
        return {name: int(value) for name, _, value in found if value.isdigit()}


@contextmanager
def envoy(program: Path, name: str, directory: Path, changes: Mapping[str, str]) -> Iterator[RunningEnvoy]:
    """Envoy with an example's configuration, where `changes` replace the addresses, until it listens."""
    port, log_file = free_port(), directory / f"{name}.log"
    admin = f"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}\n"
    configuration = directory / f"{name}.yaml"
    configuration.write_text(admin + replaced((EXAMPLE / f"{name}.yaml").read_text(), dict(changes)))
    command: list[str | Path] = [
        program,
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "info",
        "-c",
    ]
    with log_file.open("ab") as log:
        process = subprocess.Popen([*command, configuration], stdout=log, stderr=log)
    running = RunningEnvoy(process, log_file, f"http://127.0.0.1:{port}")
    try:
        wait_for(
            f"Envoy {name}",
            lambda: running.ask("/ready").text == "LIVE\n",
            story=running.log,
            not_yet=(httpx.TransportError,),
        )
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def pod(
    agent: RunningClusterAgent, service_account: str, ttl_seconds: int | str = ""
) -> Iterator[RunningPodAgent]:
    """The pod agent of the replica `web-1` of that application, which also writes files."""
    with short_directory() as directory:
        (directory / "files").mkdir()
        mount(directory, agent, service_account=service_account)
        settings = {"files_directory": directory / "files", "ttl_seconds": ttl_seconds}
        with running_pod_agent(directory, agent.url, **settings) as running:
            running.wait_until_blessed()
            yield running


@dataclass
class Back:
    """The application `back` and its Envoy."""

    port: int
    agent: RunningPodAgent
    envoy: RunningEnvoy


@contextmanager
def running_back(
    program: Path,
    agent: RunningClusterAgent,
    directory: Path,
    *,
    ttl_seconds: int | str = "",
    changes: Mapping[str, str] = NO_CHANGES,
) -> Iterator[Back]:
    with application() as upstream, pod(agent, "back", ttl_seconds) as pod_agent:
        port = free_port()
        changed = {
            "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
            "port_value: 8080": f"port_value: {upstream}",
            SOCKET: str(pod_agent.directory / "workload.sock"),
            **changes,
        }
        with envoy(program, "back", directory, changed) as running:
            yield Back(port, pod_agent, running)


@dataclass
class Front:
    """The application `front` and its Envoy, which answers its requests at `url`."""

    url: str
    agent: RunningPodAgent
    envoy: RunningEnvoy

    def get(self) -> httpx.Response:
        return httpx.get(self.url)


@contextmanager
def running_front(
    program: Path, agent: RunningPodAgent, back: Back, directory: Path, **changes: str
) -> Iterator[Front]:
    """An Envoy with the identity of `agent`, which makes a new connection to `back` for each request."""
    port = free_port()
    changed = {
        "port_value: 9000": f"port_value: {port}",
        "address: back, port_value: 8443": f"address: 127.0.0.1, port_value: {back.port}",
        SOCKET: str(agent.directory / "workload.sock"),
        "type: STRICT_DNS": f"type: STATIC{ONE_REQUEST}",
        "          common_tls_context:\n": "          max_session_keys: 0\n          common_tls_context:\n",
        **changes,
    }
    with envoy(program, "front", directory, changed) as running:
        yield Front(f"http://127.0.0.1:{port}/", agent, running)
