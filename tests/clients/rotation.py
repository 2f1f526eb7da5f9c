"""Requests between two Envoys while their certificates change: each one is a new handshake.

python -m tests.clients.rotation --rotations 100
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
from cryptography import x509

from tests.clients.envoy_program import find_envoy
from tests.clients.envoys import Back, Front, RunningEnvoy, pod, running_back, running_front
from tests.cluster_agents import running_cluster_agent
from tests.waiting import PATIENCE_SECONDS

# Renewed at half of it.
_TTL_SECONDS = 6
_CALLER = "spiffe://acme/prod/shop/front/web-1"


@dataclass
class Traffic:
    """What happened to requests by new connections, and to those on one that stays."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    late: int = 0
    """Requests that failed, and had to: the machine was too slow to renew a certificate in time."""
    serials: set[int] = field(default_factory=set)
    """Of the certificates that the Envoy of `back` presented."""

    @property
    def rotations(self) -> int:
        return max(len(self.serials) - 1, 0)


def exchange(front: Front, back: Back, rotations: int, pause: float = 0.01) -> Traffic:
    """Sends requests until the certificate has changed so often."""
    traffic = Traffic()
    with httpx.Client() as client, kept_connection(front, back) as kept:
        while traffic.rotations < rotations:
            end = min(end_of(one.envoy) for one in (front, back))
            answer = client.get(front.url)
            if answer.status_code == 503 and datetime.now(UTC) >= end:
                traffic.late += 1
            elif answer.status_code != 200 or answer.text != _CALLER:
                traffic.failures.append(f"{answer.status_code} {answer.text}")
            kept.request("GET", "/")
            answered = kept.getresponse()
            if answered.read() != _CALLER.encode():
                traffic.failures.append(f"on the connection that stays: {answered.status}")
            traffic.requests += 2
            traffic.serials.add(served(back))
            time.sleep(pause)
    return traffic


def end_of(envoy: RunningEnvoy) -> datetime:
    """Of the certificate that it has."""
    return datetime.fromisoformat(envoy.certificate()["expiration_time"])


def served(back: Back) -> int:
    """The serial number of the certificate that Envoy has now."""
    pem = ssl.get_server_certificate(("127.0.0.1", back.port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@contextmanager
def kept_connection(front: Front, back: Back) -> Iterator[http.client.HTTPSConnection]:
    """A connection with the first certificate of `front`, which must not end when certificates do."""
    files = (front.agent.directory / "files" / "..data").resolve()
    context = ssl.create_default_context(cafile=files / "ca.crt")
    context.check_hostname = False  # the certificate names no host
    context.load_cert_chain(files / "tls.crt", files / "tls.key")
    connection = http.client.HTTPSConnection(
        "127.0.0.1", back.port, timeout=PATIENCE_SECONDS, context=context
    )
    connection.auto_open = 0
    connection.connect()
    try:
        yield connection
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rotations", type=int, default=100)
    rotations = parser.parse_args().rotations
    program = find_envoy(print)
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        with (
            running_cluster_agent(directory, ttl_seconds=_TTL_SECONDS, minimum_ttl_seconds=1) as agent,
            running_back(program, agent, directory) as back,
            pod(agent, "front") as pod_agent,
            running_front(program, pod_agent, back, directory) as front,
        ):
            traffic = exchange(front, back, rotations)
            ssl_of_front = front.envoy.counters(r"cluster\.back\.ssl\.")
    print(f"certificates of {_TTL_SECONDS} s: {traffic.rotations} rotations, {traffic.requests} requests, ")
    print(f"{len(traffic.failures)} failed: {traffic.failures[:5]}; {traffic.late} were too late")
    for name, value in ssl_of_front.items():
        print(f"  {name}: {value}")


if __name__ == "__main__":
    main()
