"""The fleet: live replicas, counted by the ends of their certificates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from cluster_agent.store.access import Access, seconds
from cluster_agent.store.tables import issuances, revoked_replicas

STEP_SECONDS = 10


class Fleet:
    """Reads every live record, in a thread that no call waits for. Every call may raise Unavailable."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def lives(self, now: datetime) -> Sequence[tuple[int, int]]:
        """Pairs of the seconds that replicas have left, in steps and in order, and the number of replicas
        with that time. A replica is a pod with a certificate that has neither expired nor been revoked; its
        last one counts."""
        ends = (
            select(func.max(issuances.c.not_after).label("at"))
            .where(
                issuances.c.not_after > seconds(now),
                issuances.c.pod_uid.not_in(select(revoked_replicas.c.pod_uid)),
            )
            .group_by(issuances.c.pod_uid)
            .subquery()
        )
        step = ((ends.c.at - seconds(now)) // STEP_SECONDS).label("step")
        statement = select(step, func.count()).group_by(step).order_by(step)

        def count(connection: Connection) -> Sequence[tuple[int, int]]:
            return [(int(row[0]) * STEP_SECONDS, int(row[1])) for row in connection.execute(statement)]

        return await self._access.count(count)
