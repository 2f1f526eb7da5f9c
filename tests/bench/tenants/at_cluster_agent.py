"""Hostile tenants at the cluster agent. The normal one starts replicas: each has a connection, a token and a
key of its own, and waits 10 s for its blessing."""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, insert

from blessings import Blessing, Name, Principal, fingerprint
from blessings.tls import client_context
from cluster_agent.model import Application
from cluster_agent.registry.registry import Registration
from cluster_agent.signing.key_files import make_signing_room
from cluster_agent.store import open_store, tables
from cluster_agent.store.database import database_url
from tests.bench.tenants.measure import Call, Hostility, Outcome, compare
from tests.bench.tenants.slow_reviews import slow_reviews
from tests.cluster_agents import (
    RunningClusterAgent,
    pod_token,
    running_cluster_agent,
    with_environment,
)
from tests.csrs import csr_of

_POD_AGENT_WAITS = 10.0
_ADDRESSES = [f"127.0.0.{number}" for number in range(2, 12)]
_CONNECTIONS, _READERS, _REVOKED, _NAMES = 100, 60, 100_000, 20_000
_REVIEW_SECONDS = 0.2


def held_connections(directory: Path, seconds: float) -> Outcome:
    """One credential, from ten addresses, holds a hundred connections from each, and takes them again."""
    with _running(directory) as agent:
        context, hostility = _context(agent, "hostile"), Hostility()
        for address in _ADDRESSES:
            held = _Held(agent, context, address)
            hostility.repeat(held.take_again)
        return compare("A.4 held connections", _replicas(agent), hostility, seconds, begun=15)


def junk_tokens(directory: Path, seconds: float) -> Outcome:
    """One credential sends tokens that are none; the API server reviews each in 200 ms."""
    with slow_reviews(directory / "reviews", _REVIEW_SECONDS) as reviewer:
        settings = {**reviewer, "attestor": "token-review"}
        with _running(directory, **settings) as agent:
            credential, hostility = agent.new_secret("hostile", "web")["credential"], Hostility()
            for address in _ADDRESSES * 4:
                client = _client(_context_of(agent, credential), agent.url, address)
                body = {"csr": csr_of(Principal.create()), "token": "eyJhbGciOiJSUzI1NiJ9.e30.junk"}

                def send(client: httpx.Client = client, body: dict[str, str] = body) -> None:
                    client.post("/v1/seek-blessings", json=body)

                hostility.repeat(send)
            return compare("A.5 junk tokens", _replicas(agent), hostility, seconds)


def slow_readers(directory: Path, seconds: float) -> Outcome:
    """Sixty clients ask for a revocation list with a hundred thousand entries, and read none."""
    (directory / "data").mkdir()
    _revoke_many(directory / "data")
    with _running(directory) as agent:
        hostility = Hostility()
        for number in range(_READERS):
            address = _ADDRESSES[number % len(_ADDRESSES)]
            hostility.repeat(lambda address=address: _ask_and_read_nothing(agent, address, hostility))  # type: ignore[misc]
        return compare("A.6 slow readers of lists", _replicas(agent), hostility, seconds, begun=5)


def registering(directory: Path, seconds: float) -> Outcome:
    """An administrator registers one name after the other, beside twenty thousand."""
    (directory / "data").mkdir()
    _register_many(directory / "data")
    with _running(directory) as agent:
        hostility, numbers = Hostility(), itertools.count()
        for _ in range(4):
            client = agent.control_plane_client()

            def register(client: httpx.Client = client) -> None:
                number = next(numbers)
                body = {
                    "namespace": "hostile",
                    "serviceAccount": f"app-{number}",
                    "name": f"acme:prod:Hostile{number}",
                }
                client.post("/v1/register-application", json=body).raise_for_status()

            hostility.repeat(register)
        return compare("A.7 registering", _replicas(agent), hostility, seconds)


@contextmanager
def _running(directory: Path, **settings: object) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(directory, start=with_environment(), **settings) as agent:
        yield agent


def _replicas(agent: RunningClusterAgent) -> Call:
    """New replicas of the normal tenant, one after the other."""
    context = _context(agent, "normal")

    def start(number: int) -> None:
        token = pod_token(agent.tokens, f"web-{number}", namespace="normal", pod_uid=f"uid-{number}")
        body = {"csr": csr_of(Principal.create()), "token": token}
        with httpx.Client(base_url=agent.url, verify=context, timeout=_POD_AGENT_WAITS) as client:
            answer = client.post("/v1/seek-blessings", json=body)
        if not answer.is_success:
            raise AssertionError(f"{answer.status_code} {answer.text[:200]}")

    return start


def _context(agent: RunningClusterAgent, namespace: str) -> ssl.SSLContext:
    return _context_of(agent, agent.new_secret(namespace, "web")["credential"])


def _context_of(agent: RunningClusterAgent, credential: dict[str, Any]) -> ssl.SSLContext:
    principal = Principal.from_pem(credential["privateKey"].encode())
    chain = Blessing.from_pem(credential["certificateChain"])
    context = client_context(principal, chain, agent.server_roots)
    context.check_hostname = True
    return context


def _client(context: ssl.SSLContext, url: str, address: str) -> httpx.Client:
    transport = httpx.HTTPTransport(verify=context, local_address=address)
    return httpx.Client(base_url=url, transport=transport, timeout=30)


class _Held:
    """A hundred connections from one address, each opened again when it is closed."""

    def __init__(self, agent: RunningClusterAgent, context: ssl.SSLContext, address: str) -> None:
        self._port = int(agent.url.rsplit(":", 1)[1])
        self._context = context
        self._address = address
        self._open: list[ssl.SSLSocket] = []

    def take_again(self) -> None:
        if len(self._open) < _CONNECTIONS:
            self._open.append(self._connect())
            return
        readable, _, _ = select.select(self._open, [], [], 0.5)
        for one in readable:
            self._open.remove(one)
            one.close()

    def _connect(self) -> ssl.SSLSocket:
        bare = socket.create_connection(("127.0.0.1", self._port), 10, source_address=(self._address, 0))
        with ExitStack() as closing:
            closing.callback(bare.close)
            one = self._context.wrap_socket(bare, server_hostname="localhost")
            one.sendall(b"GET /v1/applications HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not one.recv(4096):
                raise ConnectionError("closed")
            closing.pop_all()
        return one


def _ask_and_read_nothing(agent: RunningClusterAgent, address: str, hostility: Hostility) -> None:
    """Until the agent ends it."""
    context = ssl.create_default_context(cadata=agent.server_roots.to_pem())
    with socket.socket() as bare:
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        bare.settimeout(10)
        bare.bind((address, 0))
        bare.connect(("127.0.0.1", int(agent.url.rsplit(":", 1)[1])))
        with context.wrap_socket(bare, server_hostname="localhost") as one:
            one.sendall(b"GET /v1/crl/acme:prod:hostile:web HTTP/1.1\r\nHost: localhost\r\n\r\n")
            poll, until = select.poll(), time.monotonic() + 30
            poll.register(one, select.POLLHUP | select.POLLERR)
            while time.monotonic() < until and not hostility.ended.wait(0.2) and not poll.poll(0):
                pass


def _revoke_many(data: Path) -> None:
    """Writes revoked certificates of the hostile tenant's application into the store."""
    key = fingerprint(make_signing_room(data, Name.parse("acme"), now=_now()).issuing.public_key)
    url, issuer, later = _store_url(data), "acme:prod:hostile:web", int(time.time()) + 86_400
    open_store(url)
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        connection.execute(insert(tables.issuers), [{"name": issuer, "issuing_key": key, "not_after": later}])
        of_all = {"issuer": issuer, "issuing_key": key, "revoked_at": later - 86_400, "not_after": later}
        rows = [{**of_all, "serial": f"{number + 2**120:x}"} for number in range(_REVOKED)]
        connection.execute(insert(tables.revoked_certificates), rows)
    engine.dispose()


def _register_many(data: Path) -> None:
    """Writes registered names of other tenants into the store."""
    issuing = make_signing_room(data, Name.parse("acme"), now=_now()).issuing
    url = _store_url(data)
    open_store(url)

    def row(number: int) -> dict[str, Any]:
        application, name = Application(f"team-{number}", "web"), Name.parse(f"acme:prod:Team{number}")
        made = asdict(Registration(application, name, None, None).row(issuing, _now()))
        return {**made, "registered_at": int(made["registered_at"].timestamp())}

    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        connection.execute(insert(tables.applications), [row(number) for number in range(_NAMES)])
    engine.dispose()


def _store_url(data: Path) -> str:
    return f"sqlite:///{data / 'cluster-agent.sqlite3'}"


def _now() -> datetime:
    return datetime.now(UTC)
