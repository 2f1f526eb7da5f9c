"""Kills cluster agents at random moments while administrators register, revoke, reinstate and rotate roots.

Each actor has things of its own that nobody else changes, and knows of each act whether it was answered: what
was must be there after a kill, and what was not in whole or not at all.
"""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx

from tests.cluster_agent.kills.killed import Records, Working, audit_of, kill
from tests.cluster_agent.kills.registrations import Registrar
from tests.cluster_agent.kills.revocations import Revoker
from tests.cluster_agent.kills.roots import Rotator
from tests.cluster_agents import RunningClusterAgent, another_replica, running_cluster_agent


class Actor(Protocol):
    """Acts, one after the other, until the agent is gone; and says afterwards what is wrong."""

    answered: int

    def act(self, agent: RunningClusterAgent, administrator: httpx.Client) -> None: ...

    def wrong(
        self, agent: RunningClusterAgent, administrator: httpx.Client, url: str, records: Records
    ) -> list[str]: ...


def kill_administered(
    cycles: int, directory: Path, chance: random.Random, url: str | None = None
) -> tuple[list[int], list[str]]:
    """How many acts of each actor were answered, and what is wrong. `url`: of PostgreSQL, else SQLite.

    The actors take turns: the kill comes after the first answer to one of them.
    """
    problems: list[str] = []
    # Longer than any run: what was revoked stays on the lists.
    settings: dict[str, Any] = {"ttl_seconds": 86_400}
    if url is not None:
        settings["database_url"] = url
    database = url or f"sqlite:///{directory / 'data' / 'cluster-agent.sqlite3'}"
    actors: list[Actor] = [
        Registrar(chance, "one"),
        Registrar(chance, "two"),
        Revoker(chance),
        Rotator(),
    ]

    def look(agent: RunningClusterAgent) -> None:
        found, records = audit_of(database)
        problems.extend(found)
        with agent.control_plane_client() as administrator:
            for actor in actors:
                problems.extend(actor.wrong(agent, administrator, database, records))

    with running_cluster_agent(directory, **settings) as first:
        kill(first)
    for cycle in range(cycles):
        awaited = actors[cycle % len(actors)]
        with another_replica(first, directory) as agent:
            look(agent)
            works = [partial(_acting, agent, actor, is_awaited=actor is awaited) for actor in actors]
            with Working(problems, works, may_break=True) as working:
                working.wait_for_the_first()
                time.sleep(chance.uniform(0, 0.3))
                kill(agent)
        if problems:
            break
    with another_replica(first, directory) as agent:
        look(agent)
        with agent.control_plane_client() as administrator:
            for actor in actors:
                for _ in range(3):  # for a rotation, a whole one
                    actor.act(agent, administrator)
        look(agent)
    return [actor.answered for actor in actors], problems


def _acting(agent: RunningClusterAgent, actor: Actor, working: Working, *, is_awaited: bool) -> None:
    with agent.control_plane_client() as administrator:
        while not working.stop.is_set():
            actor.act(agent, administrator)
            if is_awaited:
                working.first.set()
