"""A store in which many certificates are revoked, as after the revocation of a large application."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from random import Random

from tests.cluster_agents import RunningClusterAgent


def revoke_many(agent: RunningClusterAgent, application: str, count: int) -> None:
    """Adds `count` revoked certificates of `application` to the store of a running agent, which has an issuer
    already. They are on its lists within seconds."""
    with closing(sqlite3.connect(agent.data_directory / "cluster-agent.sqlite3", timeout=60)) as store, store:
        key, ends = store.execute("SELECT issuing_key, not_after FROM issuers").fetchone()
        store.execute("INSERT OR IGNORE INTO issuers VALUES (?, ?, ?)", (application, key, ends))
        chance = Random()
        serials = (f"{chance.getrandbits(150):x}" for _ in range(count))
        rows = [(application, key, serial, ends - 60, ends) for serial in serials]
        store.executemany("INSERT INTO revoked_certificates VALUES (?, ?, ?, ?, ?)", rows)
        store.execute("UPDATE revocation_state SET number = number + 1, last_revocation = number + 1")
