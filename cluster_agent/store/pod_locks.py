"""Locks on pods, for recording, in a database that several replicas of the agent share."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, text

from cluster_agent.store.database import POD_LOCKS


def hold_pods(connection: Connection, pod_uids: Collection[str]) -> set[str]:
    """Locks these pods until the transaction's end, so that a count of their certificates stays right.
    Returns those that another replica has locked.

    It does not wait: otherwise a replica that is stuck in its transaction would stop the issuing of all
    others.
    """
    if connection.dialect.name != "postgresql":
        return set()
    return set(connection.scalars(_HOLD, {"kind": POD_LOCKS, "pods": list(pod_uids)}))


_HOLD = text(
    "SELECT uid FROM unnest(CAST(:pods AS text[])) AS uid "
    "WHERE NOT pg_try_advisory_xact_lock(:kind, hashtext(uid))"
)
