"""Issuances a second and core, each with a TLS connection of its own and a durable record, beside what the
same server and machine can do at most: bare mutual TLS 1.3 handshakes, and bare signatures.

    python -m tests.bench.issuing [--store sqlite|postgresql] [--attestor jwks|token-review]
                                  [--live 100,100000] [--requests 4000] [--python …/bin/python]

The server is the program, pinned to one core; the clients are processes on the others. Rates are per second
of the server's own processor time, so that a busy machine changes them little; `by the clock` is what there
was in all, and `clients` how much of their cores they used meanwhile: near 100 % the clock measures them.
A first blessing is asked for with the application's bootstrap credential, as all of its replicas do; a
renewal with the replica's own certificate, whose chain is longer. (a) are handshakes with the same
certificates, after which the client ends the connection without having asked anything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice, zip_longest
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine, func, insert, select

from blessings import Blessing, Principal, Roots
from blessings.tls import client_context
from cluster_agent.store import tables
from cluster_agent.store.database import database_url
from tests.bench.pod_tokens import pod_tokens
from tests.checkout import CHECKOUT
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent, with_interpreter
from tests.csrs import csr_of
from tests.postgresql import running_postgresql

_AT_ONCE = 64
_WARM_UP = 200
_A_TURN = 1000
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Credential:
    """A private key and its certificate chain, in PEM."""

    private_key: str
    chain: str


@dataclass(frozen=True)
class Ask:
    """A request's body; empty for the handshake alone. `key` is the new private key in PEM, `renewing` what
    to come with instead of the bootstrap credential."""

    body: bytes = b""
    key: str = ""
    renewing: Credential | None = None


@dataclass(frozen=True)
class Client:
    """What a client process needs to ask for a blessing."""

    port: int
    credential: Credential
    roots: str


@dataclass
class Measured:
    """The server's processor seconds for some operations, the seconds that they took in all, the processor
    seconds of the clients; the seconds and the answer of each."""

    processor: float = 0
    clock: float = 0
    clients: float = 0
    seconds: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def add(self, more: Measured) -> None:
        self.processor += more.processor
        self.clock += more.clock
        self.clients += more.clients
        self.seconds += more.seconds
        self.answers += more.answers

    @property
    def per_core(self) -> float:
        return len(self.seconds) / self.processor


def main() -> None:
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--attestor", choices=["jwks", "token-review"], default="jwks")
    parser.add_argument("--live", default="100,100000", help="live replicas in the store, with commas")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument(
        "--python",
        default=sys.executable,
        help="the server's, of an environment with what its image has; or else ours",
    )
    arguments = parser.parse_args()
    print(f"{_processor()}, {os.cpu_count()} cores; {arguments.store}, {arguments.attestor}")
    print(_version_of(arguments.python))
    signatures = _signatures_a_second()
    print(f"(b) bare P-256 signatures: {signatures:.0f}/s of a core")
    for live in arguments.live.split(","):
        _measure_with(int(live), arguments, signatures)


def _measure_with(live: int, arguments: argparse.Namespace, signatures: float) -> None:
    requests: int = arguments.requests
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vanadium-bench-")))
        # What is started besides the cluster agent leaves its core to it.
        os.sched_setaffinity(0, _other_cores())
        attested, tokens = stack.enter_context(pod_tokens(arguments.attestor, requests + _WARM_UP, directory))
        settings: dict[str, Any] = {
            "start": with_interpreter(arguments.python, **_variables_of_the_image()),
            **attested,
        }
        url = f"sqlite:///{directory / 'data' / 'cluster-agent.sqlite3'}"
        if arguments.store == "postgresql":
            settings["database_url"] = url = stack.enter_context(
                running_postgresql(survives_power_cut=True)
            ).new_database()
        agent = stack.enter_context(_agent(directory, **settings))
        pool = stack.enter_context(_client_processes())
        secret = agent.new_secret()
        client = Client(
            port=int(agent.url.rsplit(":", 1)[1]),
            credential=Credential(
                secret["credential"]["privateKey"], secret["credential"]["certificateChain"]
            ),
            roots=agent.server_roots.to_pem(),
        )
        _add_live_replicas(url, secret["id"], live)
        asks = pool.map(_ask, tokens, 50)
        _run(agent, pool, client, asks[:_WARM_UP])
        bare, issued, bare_again, renewed = Measured(), Measured(), Measured(), Measured()
        # In turns: what slows the machine down for some seconds slows down all of them.
        for at in range(_WARM_UP, len(asks), _A_TURN):
            turn = slice(at, at + _A_TURN)
            bare.add(_run(agent, pool, client, [Ask()] * len(asks[turn])))
            first = _run(agent, pool, client, asks[turn])
            issued.add(first)
            renewing = pool.starmap(_renewal, zip(asks[turn], first.answers, tokens[turn], strict=True), 50)
            bare_again.add(_run(agent, pool, client, [Ask(renewing=one.renewing) for one in renewing]))
            renewed.add(_run(agent, pool, client, renewing))
        memory = _resident_mebibytes(agent.process.pid)
        recorded = _count(url)
    expected = live + len(asks) + requests
    if recorded != expected:
        raise SystemExit(f"{expected} issuances expected in the store, {recorded} found")
    print(f"with {live} live replicas:")
    for what, limit, measured in (
        ("first blessings", bare, issued),
        ("renewals, with a longer chain", bare_again, renewed),
    ):
        steps = statistics.quantiles(measured.seconds, n=100)
        print(
            f"  {what}: {measured.per_core:.0f}/s of a core, {1000 / measured.per_core:.2f} ms of it each; "
            f"{measured.per_core / limit.per_core:.2f} of (a) {limit.per_core:.0f}/s, "
            f"{measured.per_core / signatures:.3f} of (b)"
        )
        share = measured.clients / measured.clock / max(1, (os.cpu_count() or 1) - 1)
        print(
            f"    {len(measured.seconds) / measured.clock:.0f}/s by the clock, clients {share:.0%}; "
            f"with {_AT_ONCE} at once median {steps[49] * 1000:.0f} ms, p99 {steps[98] * 1000:.0f} ms"
        )
    print(f"  resident memory {memory:.0f} MiB")


def _variables_of_the_image() -> dict[str, str]:
    text = (CHECKOUT / "deploy/images/cluster-agent.Containerfile").read_text()
    found = dict(re.findall(r"^ENV (\w+)=(\S+)$", text, re.MULTILINE))
    if len(found) != text.count("\nENV "):
        raise SystemExit(f"not every ENV of the image was understood, only {', '.join(found)}")
    return found


@contextmanager
def _agent(directory: Path, **settings: Any) -> Iterator[RunningClusterAgent]:
    """The program on one core, without limits that one busy address would meet."""
    limitless: dict[str, Any] = {
        f"rate_per_{who}": 10**6 for who in ("application", "address", "replica", "administrator")
    }
    with running_cluster_agent(directory, **limitless, **settings) as agent:
        for thread in Path(f"/proc/{agent.process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {0})
        yield agent


@contextmanager
def _client_processes() -> Iterator[Pool]:
    """Two, away from the server's core; each has half of the clients as threads."""
    with multiprocessing.get_context("spawn").Pool(2, os.sched_setaffinity, (0, _other_cores())) as pool:
        yield pool


def _other_cores() -> set[int]:
    """All but the server's, where there are others."""
    return set(range(os.cpu_count() or 1)) - {0} or {0}


def _run(agent: RunningClusterAgent, pool: Pool, client: Client, asks: Sequence[Ask]) -> Measured:
    """Sends each over a connection of its own."""
    processor, began = _processor_seconds(agent.process.pid), time.perf_counter()
    halves = pool.starmap(_requests, [(client, asks[half::2]) for half in range(2)], 1)
    clock = time.perf_counter() - began
    used = _processor_seconds(agent.process.pid) - processor
    clients = sum(processor for processor, _ in halves)
    # Every second one is of the same half.
    done = [one for pair in zip_longest(*(done for _, done in halves)) for one in pair if one is not None]
    return Measured(used, clock, clients, [seconds for seconds, _ in done], [answer for _, answer in done])


def _requests(client: Client, asks: Sequence[Ask]) -> tuple[float, list[tuple[float, bytes]]]:
    """The processor seconds of this process; and of each the seconds that it took, and its answer."""
    used = time.process_time()
    roots = Roots.from_pem(client.roots)

    def context_for(credential: Credential) -> ssl.SSLContext:
        key = Principal.from_pem(credential.private_key.encode())
        return client_context(key, Blessing.from_pem(credential.chain), roots)

    bootstrap = context_for(client.credential)

    def one(ask: Ask) -> tuple[float, bytes]:
        context = bootstrap if ask.renewing is None else context_for(ask.renewing)
        began = time.perf_counter()
        with (
            socket.create_connection(("127.0.0.1", client.port), timeout=60) as bare,
            context.wrap_socket(bare, server_hostname="localhost") as connection,
        ):
            if not ask.body:
                connection.unwrap()  # waits until the server, done with the handshake, says goodbye too
                return time.perf_counter() - began, b""
            length = len(ask.body)
            head = f"POST /v1/seek-blessings HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n"
            connection.sendall(f"{head}content-type: application/json\r\nconnection: close\r\n\r\n".encode())
            connection.sendall(ask.body)
            answer = b""
            with suppress(ConnectionResetError, ssl.SSLEOFError):
                while part := connection.recv(65536):
                    answer += part
            if not answer.startswith(b"HTTP/1.1 200"):
                raise AssertionError(answer.decode())
        return time.perf_counter() - began, answer.partition(b"\r\n\r\n")[2]

    with ThreadPoolExecutor(_AT_ONCE // 2) as threads:
        done = list(threads.map(one, asks))
    return time.process_time() - used, done


def _ask(token: str, renewing: Credential | None = None) -> Ask:
    principal = Principal.create()
    body = json.dumps({"csr": csr_of(principal), "token": token}).encode()
    return Ask(body, principal.to_pem().decode(), renewing)


def _renewal(first: Ask, answer: bytes, token: str) -> Ask:
    return _ask(token, Credential(first.key, json.loads(answer)["chain"]))


def _add_live_replicas(url: str, secret_id: str, count: int) -> None:
    """Records of certificates that have not expired, as issuing leaves them."""
    not_after = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
    rows = (
        {
            "certificate_fingerprint": os.urandom(32).hex(),
            "secret_id": secret_id,
            "pod_name": f"web-{number}",
            "pod_uid": f"uid-of-web-{number}",
            "public_key_fingerprint": os.urandom(32).hex(":"),
            "not_after": not_after,
        }
        for number in range(count)
    )
    engine = create_engine(database_url(url))
    while part := list(islice(rows, 5000)):
        with engine.begin() as connection:
            connection.execute(insert(tables.issuances), part)
    engine.dispose()


def _count(url: str) -> int:
    engine = create_engine(database_url(url))
    with engine.connect() as connection:
        count: int = connection.execute(select(func.count()).select_from(tables.issuances)).scalar_one()
    engine.dispose()
    return count


def _signatures_a_second() -> float:
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    message = b"x" * 600  # about what is signed of a certificate
    began, count = time.process_time(), 0
    while time.process_time() - began < 1:
        key.sign(message, algorithm)
        count += 1
    return count / (time.process_time() - began)


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mebibytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _version_of(python: str) -> str:
    """How Python was built, and with which OpenSSL, makes a difference of a third."""
    told = (
        "'Python', platform.python_version(), 'of', platform.python_compiler(), 'with', ssl.OPENSSL_VERSION"
    )
    asked = [python, "-c", f"import platform, ssl; print({told})"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{found.get('model name', 'unknown processor')} at {found.get('cpu MHz', '?')} MHz"


if __name__ == "__main__":
    main()
