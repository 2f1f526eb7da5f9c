"""PodCertificateRequests: which replica of the agent works on which, and the answers until the API server has
them.

A replica holds a request for a while, so that several replicas share the work; after one was killed, another
takes its requests over, with the answers that were recorded. Without PostgreSQL there is one replica, which
holds everything. `Issuances.add` records an answer, in the transaction that records its certificate.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, or_, select

from cluster_agent.fair_queue import Tenant
from cluster_agent.model import PodRequestAnswer
from cluster_agent.store.access import Access, available, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.tables import issuances, pod_requests

HELD = timedelta(seconds=30)
# Kubernetes deletes a request after a quarter of an hour to twenty minutes.
_OUTLIVES_REQUEST = timedelta(hours=1)
_DROPPED_AT_ONCE = 5000


@dataclass(frozen=True)
class Held:
    """Whether this replica holds the request, and the status that was recorded for it, if there is one."""

    held: bool
    status: str | None = None


class PodRequests:
    """Every call may raise Unavailable, and TooManyRequests."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._holder = secrets.token_hex(8)
        shared = access.database.is_shared
        self.asked: Batches[tuple[str, datetime], Held] = (
            Batches(access.writer, self._hold) if shared else Batches(access.reader, self._look)
        )

    async def hold(self, uid: str, now: datetime, tenant: Tenant = ()) -> Held:
        """Takes the request to work on it, if no other replica holds it."""
        return await self.asked.submit((uid, now), tenant)

    async def answered(self, uids: Collection[str]) -> None:
        """Forgets requests: the API server has their answers, or the requests are gone."""
        if uids:
            statement = delete(pod_requests).where(pod_requests.c.uid.in_(sorted(uids)))
            await self._access.write(lambda connection: connection.execute(statement))

    async def drop_old(self, now: datetime) -> int:
        """Removes the records of requests that are gone; returns how many."""
        old = pod_requests.c.held_until < seconds(now - _OUTLIVES_REQUEST)
        found = select(pod_requests.c.uid).where(old).limit(_DROPPED_AT_ONCE)
        statement = delete(pod_requests).where(pod_requests.c.uid.in_(found))

        def drop(connection: Connection) -> int:
            return connection.execute(statement).rowcount

        return await self._access.drop_in_parts(drop, _DROPPED_AT_ONCE)

    def _look(self, batch: Sequence[tuple[str, datetime]]) -> Sequence[Held]:
        rows = self._access.rows(_ANSWERS, {"uids": [uid for uid, _ in batch]})
        known = {row.uid: row.status for row in rows}
        return [Held(True, known.get(uid)) for uid, _ in batch]

    def _hold(self, batch: Sequence[tuple[str, datetime]]) -> Sequence[Held]:
        # In order, so that two replicas wait for each other and do not deadlock.
        uids = sorted({uid for uid, _ in batch})
        now = max(at for _, at in batch)
        rows = [{"uid": uid, "held_by": self._holder, "held_until": seconds(now + HELD)} for uid in uids]
        adding = self._access.insert(pod_requests)
        free = or_(pod_requests.c.held_by == self._holder, pod_requests.c.held_until < seconds(now))
        holding = adding.on_conflict_do_update(
            index_elements=["uid"],
            set_={name: adding.excluded[name] for name in ("held_by", "held_until")},
            where=free,
        ).returning(pod_requests.c.uid, pod_requests.c.status)

        def hold(connection: Connection) -> dict[str, str | None]:
            return {row.uid: row.status for row in connection.execute(holding, rows)}

        held = available(lambda: self._access.transaction(hold))
        return [Held(uid in held, held.get(uid)) for uid, _ in batch]

    def record(
        self,
        connection: Connection,
        answers: Collection[PodRequestAnswer],
        certificates: Sequence[str],
        now: datetime,
    ) -> None:
        """Records answers, with the fingerprints of the certificates in them, in the transaction of their
        issuance."""
        rows = [
            {
                "uid": one.uid,
                "held_by": self._holder,
                "held_until": seconds(now + HELD),
                "status": one.status,
                "certificate_fingerprint": certificate,
            }
            for one, certificate in zip(answers, certificates, strict=True)
        ]
        if not rows:
            return
        adding = self._access.insert(pod_requests)
        columns = ("held_by", "held_until", "status", "certificate_fingerprint")
        adding = adding.on_conflict_do_update(
            index_elements=["uid"], set_={name: adding.excluded[name] for name in columns}
        )
        connection.execute(adding, sorted(rows, key=lambda row: str(row["uid"])))

    def drop_replaced(self, connection: Connection, answers: Collection[PodRequestAnswer]) -> None:
        """Forgets the certificates in earlier answers to these requests, which nobody has, and of whose keys
        the new certificates are."""
        uids = [one.uid for one in answers if one.replaces]
        if not uids:
            return
        replaced = select(pod_requests.c.certificate_fingerprint).where(pod_requests.c.uid.in_(uids))
        connection.execute(delete(issuances).where(issuances.c.certificate_fingerprint.in_(replaced)))


# Made once, because making a statement costs as much as executing it.
_ANSWERS = select(pod_requests.c.uid, pod_requests.c.status).where(
    pod_requests.c.uid.in_(bindparam("uids", expanding=True))
)
