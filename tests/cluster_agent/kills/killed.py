"""What the kills at random moments share: the end of an agent, and what its database says afterwards."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import Connection, create_engine, text

from cluster_agent.audit.kinds import Retention
from cluster_agent.audit.verification import Verification
from cluster_agent.store.audit_reading import reading_audit
from cluster_agent.store.database import database_url
from tests.cluster_agents import RunningClusterAgent
from tests.waiting import PATIENCE_SECONDS

Records = list[dict[str, Any]]


class UnexpectedAnswerError(Exception):
    """An agent that runs did not answer with 200; the message says what instead."""


class Working:
    """Threads that call an agent until it is killed: each does its work again and again until `stop` is set.
    `first` is set by the work, when something was answered."""

    def __init__(
        self, problems: list[str], works: Sequence[Callable[[Working], None]], *, may_break: bool
    ) -> None:
        self.stop = threading.Event()
        self.first = threading.Event()
        self._problems = problems
        self._may_break = may_break
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in works]

    def __enter__(self) -> Working:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_the_first(self) -> None:
        if not self.first.wait(PATIENCE_SECONDS):
            self._problems.append(f"nothing was done within {PATIENCE_SECONDS} s")

    def _run(self, work: Callable[[Working], None]) -> None:
        try:
            while not self.stop.is_set():
                work(self)
        except httpx.TransportError as error:
            if not self._may_break:
                self._problems.append(f"a call was not answered: {error!r}")
        except UnexpectedAnswerError as error:
            self._problems.append(str(error))
            self.stop.set()
            self.first.set()


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises UnexpectedAnswerError, httpx.TransportError."""
    response = client.post(path, json=body)
    if response.status_code != 200:
        raise UnexpectedAnswerError(f"{path}: {response.status_code} {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def kill(agent: RunningClusterAgent) -> None:
    """With SIGKILL. It must live until then: a crash of its own is no kill that it survived."""
    assert agent.process.poll() is None, "the agent had ended by itself"
    agent.process.send_signal(signal.SIGKILL)
    agent.process.wait()


def look_into(url: str, look: Callable[[Connection], list[str]]) -> list[str]:
    """What `look` finds wrong in the database, and what the database itself does."""
    engine = create_engine(database_url(url))
    with engine.connect() as connection:
        problems = look(connection)
        if engine.dialect.name == "sqlite":
            said = set(connection.scalars(text("PRAGMA integrity_check")))
            problems += [f"integrity: {one}" for one in said - {"ok"}]
    engine.dispose()
    return problems


def audit_of(url: str) -> tuple[list[str], list[dict[str, Any]]]:
    """What is wrong with the audit's chains, and their records."""
    with reading_audit(url) as audit:
        verification = Verification((), Retention(), datetime.now(UTC))
        found = verification.verify(audit.bases(), audit.records_of, audit.names())
        records = [json.loads(one.text) for base in audit.bases() for one in audit.records_of(base.chain)]
    return [f"audit: {one}" for one in found.problems], records
