"""Kills cluster agents at random moments while they issue under load, and while they start."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, text

from blessings import Blessing, Principal
from cluster_agent.callers import certificate_fingerprint
from tests.cluster_agent.kills.killed import Working, audit_of, kill, look_into, post
from tests.cluster_agents import (
    RunningClusterAgent,
    another_replica,
    as_arguments,
    pod_token,
    running_cluster_agent,
    start_preloaded,
)
from tests.csrs import csr_of

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
    """Four threads that make secrets, seek, renew and forget, as fast as they are answered."""

    def __init__(self, agent: RunningClusterAgent, answered: Answered, *, may_break: bool) -> None:
        self._agent = agent
        self._answered = answered
        works = [partial(self._work, number) for number in range(_WORKERS)]
        self._working = Working(answered.unexpected, works, may_break=may_break)

    def __enter__(self) -> Load:
        self._working.__enter__()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._working.__exit__()

    def wait_until_answered(self) -> None:
        """Returns when the agent has answered with a first blessing, or a worker gave up."""
        self._working.wait_for_the_first()

    def _work(self, number: int, working: Working) -> None:
        with self._agent.control_plane_client() as administrator:
            while not working.stop.is_set():
                self._one_application(administrator, number)

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
                self._working.first.set()
            if number % 2:
                answered.forgetting.add(identifier)
                self._call(administrator, "/v1/forget-secret", {"id": identifier})
                answered.forgotten.add(identifier)
                body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
                response = client.post("/v1/seek-blessings", json=body)
                if response.status_code != 403:
                    answered.unexpected.append(f"after forgetting: {response.status_code}")

    def _call(self, client: httpx.Client, path: str, body: dict[str, str]) -> dict[str, Any]:
        answer = post(client, path, body)
        self._answered.calls += 1
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
    found, records = audit_of(url)
    problems += found
    noted = {one["certificate"] for one in records if one["act"] == "blessing-issued"}

    def look(connection: Connection) -> list[str]:
        rows = connection.execute(text("SELECT certificate_fingerprint, secret_id FROM issuances"))
        recorded = {row[0]: row[1] for row in rows}
        secrets = set(connection.scalars(text("SELECT id FROM secrets")))
        wrong = []
        if missing := recorded.keys() - noted:
            wrong.append(f"{len(missing)} recorded blessings have no audit record")
        if never := noted - recorded.keys():
            wrong.append(f"{len(never)} audit records are of blessings that were not recorded")
        if gone := {one: secret for one, secret in answered.blessings.items() if recorded.get(one) != secret}:
            wrong.append(f"{len(gone)} blessings that were answered have no record")
        if orphans := set(recorded.values()) - secrets:
            wrong.append(f"blessings are recorded under secrets that do not exist: {orphans}")
        return wrong

    return problems + look_into(url, look)


def kill_one(cycles: int, directory: Path, chance: random.Random) -> tuple[Answered, list[str]]:
    """One replica, killed `cycles` times, every fifth time while it starts on an empty store."""
    answered = Answered()
    problems: list[str] = []
    url = f"sqlite:///{directory / 'data' / 'cluster-agent.sqlite3'}"
    with running_cluster_agent(directory) as first:
        kill(first)
    for cycle in range(cycles):
        if cycle % 5 == 4:
            _kill_while_starting(first, directory, chance)
            continue
        with another_replica(first, directory) as agent:
            problems += wrong(agent, url, answered)
            with Load(agent, answered, may_break=True) as load:
                load.wait_until_answered()
                time.sleep(chance.uniform(0, 0.3))
                kill(agent)
        if problems:
            break
    with another_replica(first, directory) as agent:
        problems += wrong(agent, url, answered)
    return answered, problems


def kill_one_of_two(
    cycles: int, directory: Path, chance: random.Random, url: str
) -> tuple[Answered, list[str]]:
    """Two replicas on one database under load, one of them killed and started again `cycles` times. The
    other's callers must not notice."""
    answered = Answered()
    problems: list[str] = []
    (directory / "second").mkdir()
    with running_cluster_agent(directory, database_url=url) as survivor:
        with Load(survivor, answered, may_break=False):
            for _ in range(cycles):
                with (
                    another_replica(survivor, directory / "second") as victim,
                    Load(victim, answered, may_break=True) as load,
                ):
                    load.wait_until_answered()
                    time.sleep(chance.uniform(0, 0.4))
                    kill(victim)
                if answered.unexpected:
                    break
        problems += wrong(survivor, url, answered)
    return answered, problems


def _kill_while_starting(first: RunningClusterAgent, directory: Path, chance: random.Random) -> None:
    """On a data directory and a database that are empty, so that keys and schema are being made."""
    with tempfile.TemporaryDirectory(dir=directory) as empty:
        flags = {**first.flags, "data_directory": empty, "port": 0, "health_port": 0}
        process = start_preloaded(as_arguments(flags), directory / "starting.log")
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        with another_replica(first, Path(empty)):
            pass  # it starts on whatever was left
