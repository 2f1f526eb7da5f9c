"""Kills cluster agents with SIGKILL at random moments under load, and looks afterwards whether anything that
was answered is gone, or anything is there in part.

    python -m tests.cluster_agent.killing --cycles 5000 --store sqlite
    python -m tests.cluster_agent.killing --cycles 500 --store postgresql --seed 7
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine, text

from blessings import Blessing, Principal
from cluster_agent.audit.verification import verify
from cluster_agent.callers import certificate_fingerprint
from cluster_agent.store.audit_reading import reading_audit
from cluster_agent.store.database import database_url
from tests.cluster_agents import (
    RunningClusterAgent,
    Start,
    another_replica,
    as_arguments,
    pod_token,
    running_cluster_agent,
)
from tests.csrs import csr_of
from tests.postgresql import running_postgresql
from tests.preloaded import preloaded

_WORKERS = 4


@dataclass
class Answered:
    """What the agents acknowledged, and what they were asked without an answer."""

    secrets: set[str] = field(default_factory=set)
    forgetting: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    blessings: dict[str, str] = field(default_factory=dict)  # certificate fingerprint: secret
    unexpected: list[str] = field(default_factory=list)
    calls: int = 0


class Load:
    """Threads that make secrets, seek, renew and forget, as fast as they are answered."""

    def __init__(self, agent: RunningClusterAgent, answered: Answered, *, may_break: bool) -> None:
        self._agent = agent
        self._answered = answered
        self._may_break = may_break
        self._stop = threading.Event()
        self._first = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(_WORKERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_until_answered(self) -> None:
        """Returns when the agent has answered a first call, or a worker gave up."""
        self._first.wait(10)

    def _work(self, number: int) -> None:
        try:
            with self._agent.control_plane_client() as administrator:
                while not self._stop.is_set():
                    self._one_application(administrator, number)
        except httpx.TransportError as error:
            if not self._may_break:
                self._answered.unexpected.append(f"a call was not answered: {error!r}")

    def _one_application(self, administrator: httpx.Client, number: int) -> None:
        answered, agent = self._answered, self._agent
        body = {"namespace": "shop", "serviceAccount": "web"}
        secret = self._call(administrator, "/v1/new-secret", body)
        identifier = secret["id"]
        answered.secrets.add(identifier)
        with agent.credential_client(secret["credential"]) as client:
            for pod in range(1 if number % 2 else 3):
                principal = Principal.create()
                # A Pod of its own each time: one has a bound to its certificates.
                token = pod_token(agent.tokens, f"web-{pod}", pod_uid=f"{identifier}-{pod}")
                body = {"csr": csr_of(principal), "token": token}
                chain = self._call(client, "/v1/seek-blessings", body)["chain"]
                answered.blessings[certificate_fingerprint(Blessing.from_pem(chain))] = identifier
            if number % 2:
                answered.forgetting.add(identifier)
                self._call(administrator, "/v1/forget-secret", {"id": identifier})
                answered.forgotten.add(identifier)
                body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
                response = client.post("/v1/seek-blessings", json=body)
                if response.status_code != 403:
                    answered.unexpected.append(f"after forgetting: {response.status_code}")

    def _call(self, client: httpx.Client, path: str, body: dict[str, str]) -> dict[str, Any]:
        response = client.post(path, json=body)
        if response.status_code != 200:
            self._answered.unexpected.append(f"{path}: {response.status_code} {response.text}")
            self._stop.set()
            self._first.set()
            raise httpx.ReadError("stopped")
        self._answered.calls += 1
        self._first.set()
        answer: dict[str, Any] = response.json()
        return answer


def wrong(agent: RunningClusterAgent, url: str, answered: Answered) -> list[str]:
    """What is not as it must be, in words; asked of an agent that runs and of its database."""
    problems = list(answered.unexpected)
    with agent.control_plane_client() as client:
        listed = {one["id"] for one in client.get("/v1/secrets").json()["secrets"]}
    if lost := answered.secrets - answered.forgetting - listed:
        problems.append(f"secrets that were answered are gone: {lost}")
    if back := answered.forgotten & listed:
        problems.append(f"secrets that were forgotten are back: {back}")
    engine = create_engine(database_url(url))
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT certificate_fingerprint, secret_id FROM issuances"))
        recorded = {row[0]: row[1] for row in rows}
        secrets = set(connection.scalars(text("SELECT id FROM secrets")))
        if engine.dialect.name == "sqlite":
            said = set(connection.scalars(text("PRAGMA integrity_check")))
            problems += [f"integrity: {one}" for one in said - {"ok"}]
    engine.dispose()
    with reading_audit(url) as audit:
        found = verify(audit.chains(), audit.records_of, audit.hash_at, audit.names(), (), frozenset())
        noted = {
            json.loads(one.text).get("certificate")
            for chain in audit.chains()
            for one in audit.records_of(chain.head.chain)
        }
    problems += [f"audit: {one}" for one in found.problems]
    if missing := recorded.keys() - noted:
        problems.append(f"{len(missing)} recorded blessings have no audit record")
    if gone := {one: secret for one, secret in answered.blessings.items() if recorded.get(one) != secret}:
        problems.append(f"{len(gone)} blessings that were answered have no record")
    if orphans := set(recorded.values()) - secrets:
        problems.append(f"blessings are recorded under secrets that do not exist: {orphans}")
    return problems


def kill_one(cycles: int, directory: Path, start: Start, chance: random.Random) -> tuple[Answered, list[str]]:
    """One replica, killed `cycles` times, every fifth time while it starts on an empty store."""
    answered = Answered()
    problems: list[str] = []
    url = f"sqlite:///{directory / 'data' / 'cluster-agent.sqlite3'}"
    with running_cluster_agent(directory, start=start) as first:
        _kill(first)
    for cycle in range(cycles):
        if cycle % 5 == 4:
            _kill_while_starting(first, directory, start, chance)
            continue
        with another_replica(first, directory, start=start) as agent:
            problems += wrong(agent, url, answered)
            with Load(agent, answered, may_break=True) as load:
                load.wait_until_answered()
                time.sleep(chance.uniform(0, 0.3))
                _kill(agent)
        if problems:
            break
    with another_replica(first, directory, start=start) as agent:
        problems += wrong(agent, url, answered)
    return answered, problems


def kill_one_of_two(
    cycles: int, directory: Path, start: Start, chance: random.Random, url: str
) -> tuple[Answered, list[str]]:
    """Two replicas on one database under load, one of them killed and started again `cycles` times. The
    other's callers must not notice."""
    answered = Answered()
    problems: list[str] = []
    (directory / "second").mkdir()
    with running_cluster_agent(directory, start=start, database_url=url) as survivor:
        with Load(survivor, answered, may_break=False):
            for _ in range(cycles):
                with (
                    another_replica(survivor, directory / "second", start=start) as victim,
                    Load(victim, answered, may_break=True) as load,
                ):
                    load.wait_until_answered()
                    time.sleep(chance.uniform(0, 0.4))
                    _kill(victim)
                if answered.unexpected:
                    break
        problems += wrong(survivor, url, answered)
    return answered, problems


def _kill(agent: RunningClusterAgent) -> None:
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()


def _kill_while_starting(
    first: RunningClusterAgent, directory: Path, start: Start, chance: random.Random
) -> None:
    """On a data directory and a database that are empty, so that keys and schema are being made."""
    with tempfile.TemporaryDirectory(dir=directory) as empty:
        flags = {**first.flags, "data_directory": empty, "port": 0, "health_port": 0}
        process = start(as_arguments(flags), directory / "starting.log")
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with another_replica(first, Path(empty), start=start):
            pass  # it starts on whatever was left


@contextmanager
def _store(kind: str) -> Iterator[str | None]:
    with ExitStack() as stack:
        yield None if kind == "sqlite" else stack.enter_context(running_postgresql()).new_database()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as directory,
        preloaded() as start,
        _store(arguments.store) as url,
    ):
        if url is None:
            answered, problems = kill_one(arguments.cycles, Path(directory), start, chance)
        else:
            answered, problems = kill_one_of_two(arguments.cycles, Path(directory), start, chance, url)
    print(
        f"{arguments.cycles} cycles with seed {arguments.seed} in {time.monotonic() - began:.0f} s: "
        f"{answered.calls} calls answered, {len(answered.secrets)} secrets, of them "
        f"{len(answered.forgotten)} forgotten, {len(answered.blessings)} blessings"
    )
    for problem in problems:
        print(f"WRONG: {problem}")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
