"""Which pods another replica of the agent is recording for, on a database that several share."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

from cluster_agent.store.database import POD_LOCKS


def hold_pods(connection: Connection, pod_uids: Collection[str]) -> set[str]:
    """Holds these pods until the transaction's end, so that what is counted of them is all that there is.
    Answers those of them that another replica holds.

    It waits for nobody: a replica that is stuck in its transaction would else stop the issuing of all others.
    """
    if connection.dialect.name != "postgresql":
        return set()
    return set(connection.scalars(_HOLD, {"kind": POD_LOCKS, "pods": list(pod_uids)}))


_HOLD = text(
    "SELECT uid FROM unnest(CAST(:pods AS text[])) AS uid "
    "WHERE NOT pg_try_advisory_xact_lock(:kind, hashtext(uid))"
)
