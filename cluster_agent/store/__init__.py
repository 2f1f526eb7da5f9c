"""The store: secrets by fingerprint, and what was issued. It never contains a usable secret.

    store = open_store("sqlite:////var/lib/vanadium/cluster-agent.sqlite3")
    await store.issuances.add(issuance)   # durable when it returns

The same statements run on SQLite, for one replica of the agent, and on PostgreSQL, for several.
"""

from cluster_agent.store.fleet import Share
from cluster_agent.store.issuances import (
    MOST_LIVE_OF_POD,
    MOST_OF_FULL_LIFE,
)
from cluster_agent.store.store import Store, open_store

__all__ = [
    "MOST_LIVE_OF_POD",
    "MOST_OF_FULL_LIFE",
    "Share",
    "Store",
    "open_store",
]
