"""The one way to have a cluster agent in tests: the real program on loopback, or its core under a clock."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx

from blessings import AccessList, Authority, Blessing, Name, Pattern, Principal, Roots
from blessings.tls import client_context
from cluster_agent.attestation.jwks import JwksAttestor
from cluster_agent.attestation.key_documents import read_file
from cluster_agent.attestation.key_source import KeySource
from cluster_agent.callers import Administrators, Caller, identify
from cluster_agent.claims.claim_keeper import ClaimKeeper
from cluster_agent.errors import Refusal
from cluster_agent.federation.federation import Federation
from cluster_agent.issuing.replica_issuer import ReplicaIssuer
from cluster_agent.issuing.ttl_policy import TtlPolicy
from cluster_agent.jwt.key_keeper import JwtKeyKeeper
from cluster_agent.jwt.rotation import JwtSchedule
from cluster_agent.jwt.svid_issuer import JwtSvidIssuer
from cluster_agent.model import Secret
from cluster_agent.registry.registrar import Registrar
from cluster_agent.registry.registry import Registry
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.revocation.revoker import Revoker
from cluster_agent.secrets.bootstrap_secrets import BootstrapSecrets
from cluster_agent.signing.key_files import make_claimable_room, make_signing_room
from cluster_agent.store import open_store
from tests.clock import Clock
from tests.preloaded import preloaded
from tests.processes import Process, Start
from tests.waiting import PATIENCE_SECONDS, wait_for
from vkube.local.token_issuer import TokenIssuer

AUDIENCE = "vanadium-cluster-agent"
ISSUER = "https://issuer.test"
SERVER_NAME = "cluster-agent.vanadium-system.svc"
ADMINISTRATOR = "vanadium-control-plane:administrator"
SECRET_KEEPER = "vanadium-control-plane:webhook"


@dataclass
class TripwireRecord:
    """A tripwire that remembers."""

    reports: list[tuple[Secret, Refusal]]

    def report(self, secret: Secret, refusal: Refusal) -> None:
        self.reports.append((secret, refusal))


class AgentUnderClock:
    """The agent's core with a real store and real tokens, and a clock that the test turns."""

    def __init__(
        self,
        directory: Path,
        store_url: str,
        *,
        ttl: timedelta = timedelta(hours=1),
        claimable: bool = False,
    ) -> None:
        self.clock = Clock()
        self.tokens = TokenIssuer(ISSUER, self.clock)
        self.tripwire = TripwireRecord([])
        (directory / "jwks.json").write_text(self.tokens.jwks())
        keys = key_source(directory / "jwks.json", self.clock)
        self.prefix = Name.parse("acme:prod")
        self.store = open_store(store_url)
        if claimable:
            self.room = make_claimable_room(directory, now=self.clock())
        else:
            self.room = make_signing_room(directory, self.prefix.root, now=self.clock())
        self.administrators = Administrators(
            AccessList((Pattern.parse(ADMINISTRATOR),)),
            self.room.issuing.public_key,
            AccessList((Pattern.parse(SECRET_KEEPER),)),
        )
        self.registry = Registry(self.store.registered, self.prefix, self.room.issuing, self.administrators)
        self.secrets = BootstrapSecrets(
            self.administrators, self.room, self.registry, self.store.secrets, self.clock
        )
        self.issuer = ReplicaIssuer(
            room=self.room,
            registry=self.registry,
            secrets=self.store.secrets,
            issuances=self.store.issuances,
            attestor=JwksAttestor(keys, issuer=ISSUER, audience=AUDIENCE, now=self.clock),
            tripwires=(self.tripwire,),
            ttl=TtlPolicy(default=ttl, minimum=timedelta(minutes=5)),
            now=self.clock,
        )
        schedule = JwtSchedule(timedelta(days=30), timedelta(days=1), timedelta(minutes=2))
        self.jwt_keys = JwtKeyKeeper(self.store.jwt_keys, self.room.issuing, schedule, self.clock)
        self.jwt = JwtSvidIssuer(
            self.issuer, self.jwt_keys, self.store.jwt_svids, timedelta(minutes=5), "", self.clock
        )
        self.federation = Federation(
            self.store.federation, self.room.issuing, self.prefix, self.administrators, self.clock
        )
        self.registrar = Registrar(
            registry=self.registry,
            administrators=self.administrators,
            room=self.room,
            ttl=self.issuer.ttl,
            secrets=self.store.secrets,
            revocations=self.store.revocations,
            now=self.clock,
        )
        self.control_plane = Authority.create_root(
            Name.parse("vanadium-control-plane"),
            Principal.create(),
            now=self.clock(),
            lifetime=timedelta(days=365),
        )

    @property
    def roots(self) -> Roots:
        of_agent = self.room.identity_roots + self.room.bootstrap_roots
        return Roots.of(self.control_plane.certificate) + of_agent

    def claim_keeper(self, code_file: Path | None, trust: Callable[[Roots], None]) -> ClaimKeeper:
        return ClaimKeeper(
            self.prefix,
            self.room,
            self.administrators,
            self.store.claim,
            self.issuer.ttl.default,
            code_file,
            trust,
            self.clock,
        )

    def make_revoker(self, lists: CurrentLists) -> Revoker:
        return Revoker(self.store.revocations, lists, self.administrators, self.prefix, self.clock)

    def caller(self, blessing: Blessing) -> Caller:
        """Who the agent takes the holder of `blessing` for. Raises as it would."""
        return identify(blessing, self.roots, self.clock())

    def administrator(self) -> Caller:
        return self.control_plane_caller("administrator")

    def secret_keeper(self) -> Caller:
        return self.control_plane_caller("webhook")

    def control_plane_caller(self, extension: str) -> Caller:
        blessing = self.control_plane.bless(
            Principal.create().public_key, extension, now=self.clock(), lifetime=timedelta(days=30)
        )
        return self.caller(blessing)

    def token(self, pod: str = "web-1", **changes: Any) -> str:
        """A token of shop/web for `pod`; keywords change the claims."""
        return pod_token(self.tokens, pod, **changes)


def key_source(file: Path, clock: Clock) -> KeySource:
    """The key set in a file."""
    return KeySource(str(file), partial(read_file, str(file)), clock)


def pod_token(tokens: TokenIssuer, pod: str = "web-1", **changes: Any) -> str:
    claims: dict[str, Any] = {
        "namespace": "shop",
        "service_account": "web",
        "audience": AUDIENCE,
        "pod_name": pod,
        "pod_uid": f"uid-of-{pod}",
        "lifetime": timedelta(hours=1),
    }
    token, _ = tokens.token(**{**claims, **changes})
    return token


def start_preloaded(arguments: list[str], log_file: Path) -> Process:
    """The program `cluster-agent` with these flags, its standard error in `log_file`."""
    return preloaded().start(arguments, log_file)


def with_environment(**variables: str) -> Start:
    """How to start the program with these variables beside ours."""
    return with_interpreter(sys.executable, **variables)


def with_interpreter(python: str, **variables: str) -> Start:
    """How to start the program with that Python, in whose environment is what it needs, and with these
    variables beside ours."""

    def start(arguments: list[str], log_file: Path) -> Process:
        with log_file.open("ab") as log:
            return subprocess.Popen(
                [python, "-m", "cluster_agent", *arguments], stderr=log, env={**os.environ, **variables}
            )

    return start


@dataclass
class RunningClusterAgent:
    """The program `cluster-agent` with the jwks attestor, on a port of its own."""

    url: str
    health_url: str
    process: Process
    tokens: TokenIssuer
    control_plane: Authority
    log_file: Path
    data_directory: Path
    flags: dict[str, object]

    @property
    def server_roots(self) -> Roots:
        return Roots.of(self.control_plane.certificate)

    def client(self, principal: Principal | None, blessing: Blessing | None) -> httpx.Client:
        """An mTLS client with that certificate, or without one."""
        if principal is None or blessing is None:
            context = ssl.create_default_context(cadata=self.server_roots.to_pem())
        else:
            context = client_context(principal, blessing, self.server_roots)
            context.check_hostname = True
        return httpx.Client(base_url=self.url, verify=context, timeout=PATIENCE_SECONDS)

    def control_plane_client(self, extension: str = "administrator") -> httpx.Client:
        principal = Principal.create()
        blessing = self.control_plane.bless(
            principal.public_key, extension, now=datetime.now(UTC), lifetime=timedelta(days=1)
        )
        return self.client(principal, blessing)

    def credential_client(self, credential: dict[str, Any]) -> httpx.Client:
        principal = Principal.from_pem(credential["privateKey"].encode())
        return self.client(principal, Blessing.from_pem(credential["certificateChain"]))

    def new_secret(self, namespace: str = "shop", service_account: str = "web") -> dict[str, Any]:
        body = {"namespace": namespace, "serviceAccount": service_account}
        with self.control_plane_client("webhook") as client:
            response = client.post("/v1/new-secret", json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    @property
    def keys_directory(self) -> Path:
        return Path(str(self.flags.get("keys_directory", self.data_directory)))

    def log(self) -> str:
        return self.log_file.read_text()


@contextmanager
def running_cluster_agent(
    directory: Path, *, start: Start = start_preloaded, **settings: object
) -> Iterator[RunningClusterAgent]:
    """Starts the program with its data in `directory`; `settings` are its flags, underscores for dashes.

    With a `database_url`, its keys are made beside, as an administrator would.
    """
    tokens = TokenIssuer(ISSUER, lambda: datetime.now(UTC))
    (directory / "jwks.json").write_text(tokens.jwks())
    control_plane = write_serving_files(directory / "serving")
    if "database_url" in settings:
        settings = {"keys_directory": directory / "keys", **settings}
        if settings.get("claim") == "required":
            make_claimable_room(directory / "keys", now=datetime.now(UTC))
        else:
            make_signing_room(directory / "keys", Name.parse("acme"), now=datetime.now(UTC))
    flags: dict[str, object] = {
        "name_prefix": "acme:prod",
        "host": "127.0.0.1",
        "port": free_port(),
        "health_port": free_port(),
        "data_directory": directory / "data",
        "serving_directory": directory / "serving",
        "attestor": "jwks",
        "jwks_location": directory / "jwks.json",
        "jwks_issuer": ISSUER,
        "administrators": ADMINISTRATOR,
        # By default five seconds and ten, which a test on a busy machine may take.
        "handshake_seconds": 60,
        "request_seconds": 60,
        **settings,
    }
    with _running(flags, tokens, control_plane, directory, start) as agent:
        yield agent


@contextmanager
def another_replica(
    first: RunningClusterAgent, directory: Path, *, start: Start = start_preloaded
) -> Iterator[RunningClusterAgent]:
    """One more, with the settings of `first`, the same keys and database, and a data directory of its own."""
    flags = {
        **first.flags,
        "port": free_port(),
        "health_port": free_port(),
        "data_directory": directory / "data",
    }
    with _running(flags, first.tokens, first.control_plane, directory, start) as agent:
        yield agent


@contextmanager
def _running(
    flags: dict[str, object], tokens: TokenIssuer, control_plane: Authority, directory: Path, start: Start
) -> Iterator[RunningClusterAgent]:
    log_file = directory / "cluster-agent.log"
    process = start(as_arguments(flags), log_file)
    agent = RunningClusterAgent(
        url=f"https://localhost:{flags['port']}",
        health_url=f"http://127.0.0.1:{flags['health_port']}",
        process=process,
        tokens=tokens,
        control_plane=control_plane,
        log_file=log_file,
        data_directory=directory / "data",
        flags=flags,
    )
    try:
        wait_until_up(agent)
        yield agent
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()


def as_arguments(flags: dict[str, object]) -> list[str]:
    """The command line for these flags, underscores for dashes."""
    return [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def free_port() -> int:
    """A port that nobody listens at, and another one each time. From below those that the system hands out
    by itself, which a client's connection could take before the program listens there."""
    for port in _PORTS:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("unreachable")


def _ports() -> Iterator[int]:
    """In an order of its own, since others may test on this machine at the same time; the processes of one
    run share no port at all."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(20000 + process % processes, 32000, processes)
    return cycle(random.sample(ports, len(ports)))


_PORTS = _ports()


def write_serving_files(directory: Path) -> Authority:
    now = datetime.now(UTC)
    directory.mkdir(exist_ok=True)
    authority = Authority.create_root(
        Name.parse("vanadium-control-plane"), Principal.create(), now=now, lifetime=timedelta(days=1)
    )
    principal = Principal.create()
    blessing = authority.bless(
        principal.public_key,
        "cluster-agent",
        now=now,
        lifetime=timedelta(days=1),
        dns_names=[SERVER_NAME, "localhost"],
    )
    (directory / "tls.crt").write_text(blessing.to_pem())
    (directory / "tls.key").write_bytes(principal.to_pem())
    (directory / "ca.crt").write_text(authority.blessing.to_pem())
    return authority


def wait_until_up(agent: RunningClusterAgent, *, claimed: bool = False) -> None:
    """Until it is ready; or, unless `claimed`, until it says that it waits for a claim."""
    # Without the authorities of the web, which take longer to read than the agent to start.
    with httpx.Client(base_url=agent.health_url, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:

        def is_up() -> bool:
            if agent.process.poll() is not None:
                raise AssertionError(f"cluster-agent ended with {agent.process.poll()}:\n{agent.log()}")
            answer = client.get("/readyz")
            return answer.status_code == 200 or ("reason" in answer.json() and not claimed)

        wait_for("cluster-agent is ready", is_up, story=agent.log, not_yet=(httpx.TransportError,))
