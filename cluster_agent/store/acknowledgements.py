"""The version of each publication (revocation lists, roots) that every replica has acknowledged.

A replica is identified by its pod's UID: renewals and container restarts do not change it. It is live while
it has a valid certificate and was not revoked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, distinct, func, select

from cluster_agent.store.access import Access, seconds
from cluster_agent.store.tables import acknowledgements, issuances, revoked_replicas


@dataclass(frozen=True)
class Share:
    """`live` replicas, of which `acknowledged` have the requested version or a later one."""

    live: int
    acknowledged: int

    @property
    def ratio(self) -> float:
        """0 to 1. It is 1 when there is no live replica, because then none lacks the version."""
        return self.acknowledged / self.live if self.live else 1.0


class Acknowledgements:
    """Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def of_replica(self, pod_uid: str) -> dict[str, int]:
        """The versions that the replica has, by kind."""
        statement = select(acknowledgements).where(acknowledgements.c.pod_uid == pod_uid)
        return {row.kind: row.version for row in await self._access.read(statement)}

    async def record(self, pod_uid: str, versions: Mapping[str, int], now: datetime) -> None:
        """Records that the replica has these versions, by kind. Durable when it returns."""
        rows = [
            {"kind": kind, "pod_uid": pod_uid, "version": version, "at": seconds(now)}
            for kind, version in versions.items()
        ]
        if not rows:
            return
        adding = self._access.insert(acknowledgements)
        adding = adding.on_conflict_do_update(
            index_elements=["pod_uid", "kind"],
            set_={"version": adding.excluded.version, "at": adding.excluded.at},
        )
        await self._access.write(lambda connection: connection.execute(adding, rows))

    async def share(self, kind: str, version: int, now: datetime) -> Share:
        """How many of the live replicas have `version` of that kind, or a later one.

        It reads the record of every live replica (half a second for 100 000), in another thread than the
        reads for calls.
        """
        live = and_(
            issuances.c.not_after > seconds(now),
            issuances.c.pod_uid.not_in(select(revoked_replicas.c.pod_uid)),
        )
        have = select(acknowledgements.c.pod_uid).where(
            acknowledgements.c.kind == kind, acknowledgements.c.version >= version
        )
        pods = func.count(distinct(issuances.c.pod_uid))

        def count(connection: Connection) -> Share:
            return Share(
                live=connection.execute(select(pods).where(live)).scalar_one(),
                acknowledged=connection.execute(
                    select(pods).where(live, issuances.c.pod_uid.in_(have))
                ).scalar_one(),
            )

        return await self._access.count(count)

    async def drop_gone(self, now: datetime) -> int:
        """Removes the acknowledgements of replicas that are no longer live; returns how many."""
        live = select(issuances.c.pod_uid).where(issuances.c.not_after > seconds(now))
        statement = acknowledgements.delete().where(acknowledgements.c.pod_uid.not_in(live))
        return await self._access.write(lambda connection: connection.execute(statement).rowcount)
