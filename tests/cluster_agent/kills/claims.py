"""Kills cluster agents at random moments while they are claimed, and while a chain is imported."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from sqlalchemy import Connection, text

from blessings import PublicKey, Roots
from blessings.keys import check_public_key
from tests.claims import CODE, Administrator
from tests.cluster_agent.kills.killed import audit_of, kill, look_into, post
from tests.cluster_agents import RunningClusterAgent, another_replica, running_cluster_agent


@dataclass
class Killer:
    """Kills agents at any moment of a call: before it arrives, until after its answer."""

    chance: random.Random
    usual: float = 0.05  # seconds from a call to its answer; follows the machine
    answered: int = 0
    unanswered: int = 0

    def kill_during(
        self, agent: RunningClusterAgent, client: httpx.Client, path: str, body: dict[str, Any]
    ) -> bool:
        """Whether the call was answered, with 200. Raises UnexpectedAnswerError for another answer."""
        delay = self.chance.uniform(0, 2 * self.usual)
        killer = threading.Timer(delay, kill, args=(agent,))
        began = time.monotonic()
        killer.start()
        try:
            post(client, path, body)
            self.usual = (2 * self.usual + time.monotonic() - began) / 3
        except httpx.TransportError:
            self.usual *= 1.5
            self.unanswered += 1
            return False
        finally:
            killer.join()
        self.answered += 1
        return True


def kill_claimed(
    cycles: int,
    directory: Path,
    chance: random.Random,
    new_database: Callable[[], str] | None = None,
) -> tuple[Killer, list[str]]:
    """An agent of its own each time, which is killed twice: while it is claimed, and while its chain is
    replaced. `new_database` makes one of PostgreSQL, else it is SQLite.

    Of a few kills all may come too late, or too soon: there are more, until some did and some did not.
    """
    killer = Killer(chance)
    problems: list[str] = []
    for number in range(10 * cycles):
        if number >= cycles and killer.answered and killer.unanswered:
            break
        where = directory / f"claimed-{number}"
        where.mkdir()
        settings: dict[str, Any] = {} if new_database is None else {"database_url": new_database()}
        problems += _one(where, settings, killer)
        if problems:
            break
    return killer, problems


def _one(directory: Path, settings: dict[str, Any], killer: Killer) -> list[str]:
    url = settings.get("database_url", f"sqlite:///{directory / 'data' / 'cluster-agent.sqlite3'}")
    (directory / "code").write_text(CODE)
    first, second = Administrator(datetime.now(UTC)), Administrator(datetime.now(UTC))
    with (
        running_cluster_agent(
            directory, claim="required", claim_code_file=directory / "code", **settings
        ) as agent,
        agent.client(None, None) as client,
    ):
        key = _key(client)
        claimed = killer.kill_during(agent, client, "/v1/claim", first.claim(key))
    with another_replica(agent, directory) as again:
        problems = _wrong_claim(again, url, first, answered=claimed)
        with again.client(None, None) as client:
            theirs = client.post("/v1/claim", json=second.claim(key)).status_code
        owner = {200: second, 409: first}.get(theirs)
        if owner is None:
            return [*problems, f"a second claim: {theirs}"]
        problems += _wrong_claim(again, url, owner, answered=True)
        with again.client(*owner.leaf()) as administrator:
            before = _end(administrator)
            chain = owner.grant(key, lifetime=timedelta(days=400))
            imported = killer.kill_during(again, administrator, "/v1/upstream", {"chain": chain})
    with another_replica(agent, directory) as last:
        problems += _wrong_claim(last, url, owner, answered=True)
        with last.client(*owner.leaf()) as administrator:
            after = _end(administrator)
            longer = owner.now + timedelta(days=399)
            if not (after > longer or (after == before and not imported)):
                problems.append(f"the chain ends {after}, before {before}; answered: {imported}")
            said = sum(one["act"] == "chain-renewed" for one in audit_of(url)[1])
            if said != int(after != before):
                problems.append(f"{said} records of chains, which ended {before} and end {after}")
            chain = owner.grant(key, lifetime=timedelta(days=500))
            post(administrator, "/v1/upstream", {"chain": chain})
            if _end(administrator) < owner.now + timedelta(days=499):
                problems.append("a chain that was imported is not signed with")
            secret = post(administrator, "/v1/new-secret", {"namespace": "shop", "serviceAccount": "web"})
            if not secret["credential"]:
                problems.append("no credential")
    return problems


def _wrong_claim(agent: RunningClusterAgent, url: str, owner: Administrator, *, answered: bool) -> list[str]:
    """`answered`: it must be claimed, by the owner; else it may be, or by nobody."""
    with agent.client(None, None) as client:
        kind = client.get("/healthz").json()["root"]
        roots = Roots.from_json(client.get("/v1/roots").json()["roots"]) if kind == "claimed" else Roots(())
    problems, records = audit_of(url)
    said = sum(one["act"] == "claimed" for one in records)
    claimed = int(kind == "claimed")

    def look(connection: Connection) -> list[str]:
        rows = connection.execute(text("SELECT count(*) FROM documents WHERE name = 'claim'")).scalar_one()
        return [] if rows == claimed == said else [f"{kind}, with {rows} claims and {said} records"]

    problems += look_into(url, look)
    if kind not in ("claimed", "unclaimed") or (answered and not claimed):
        problems.append(f"it is {kind}, and the claim was answered: {answered}")
    if claimed and roots != Roots.of(owner.root.certificate):
        problems.append("it is claimed by somebody else")
    return problems


def _key(client: httpx.Client) -> PublicKey:
    csr = x509.load_pem_x509_csr(client.get("/v1/claim").json()["csr"].encode())
    return check_public_key(csr.public_key())


def _end(administrator: httpx.Client) -> datetime:
    answer = administrator.get("/v1/upstream").raise_for_status().json()
    return datetime.fromisoformat(answer["notAfter"])
