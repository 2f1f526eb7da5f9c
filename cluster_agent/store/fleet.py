"""The fleet: the live replicas, and the version of each publication (revocation lists, roots) that every
replica has acknowledged.

A replica is identified by its pod's UID: renewals and container restarts do not change it. It is live while
it has a valid certificate, and neither that nor the replica was revoked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, bindparam, distinct, exists, func, select

from cluster_agent.fair_queue import Tenant
from cluster_agent.store.access import Access, available, from_seconds, seconds
from cluster_agent.store.batches import Batches
from cluster_agent.store.tables import (
    VOLUME,
    acknowledgements,
    issuances,
    revoked_certificates,
    revoked_replicas,
    secrets,
)

STEP_SECONDS = 10
# In the place of a pod: what all kubelets can read.
KUBELETS = "kubelets"
# A kubelet looks at each of its Pods' volumes every 60 to 90 s (syncFrequency), and keeps a trust bundle for
# five minutes. Nobody hears when it has written the files.
# https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
VOLUMES_REFRESHED = timedelta(minutes=10)


@dataclass(frozen=True)
class Share:
    """`live` replicas, of which `acknowledged` have the requested version or a later one. So many `volumes`
    are among the live ones, and have it from `volumes_at`; None while kubelets cannot read it."""

    live: int
    acknowledged: int
    volumes: int = 0
    volumes_at: datetime | None = None

    @property
    def ratio(self) -> float:
        """0 to 1. It is 1 when there is no live replica, because then none lacks the version."""
        return self.acknowledged / self.live if self.live else 1.0


class Fleet:
    """Every call may raise Unavailable. `live_pods`, `lives` and `share` read the record of every live
    replica (half a second for 100 000), in a thread that no call waits for."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.asked = Batches(access.reader, self._acknowledged)
        self.told = Batches(access.writer, self._acknowledge)

    async def live_pods(self, now: datetime) -> frozenset[str]:
        """The UIDs of the live replicas."""
        statement = select(issuances.c.pod_uid).where(is_live(now)).distinct()
        return await self._access.count(lambda connection: frozenset(connection.scalars(statement)))

    async def lives(self, now: datetime) -> Sequence[tuple[int, int]]:
        """Pairs of the seconds that live replicas have left, in steps and in order, and the number of
        replicas with that time. A replica's last certificate counts."""
        last = func.max(issuances.c.not_after).label("at")
        ends = select(last).where(is_live(now)).group_by(issuances.c.pod_uid).subquery()
        step = ((ends.c.at - seconds(now)) // STEP_SECONDS).label("step")
        statement = select(step, func.count()).group_by(step).order_by(step)

        def count(connection: Connection) -> Sequence[tuple[int, int]]:
            return [(int(row[0]) * STEP_SECONDS, int(row[1])) for row in connection.execute(statement)]

        return await self._access.count(count)

    async def acknowledged(self, pod_uid: str, tenant: Tenant = ()) -> dict[str, int]:
        """The versions that the replica has, by kind; `tenant` asks for it."""
        return await self.asked.submit(pod_uid, tenant)

    async def acknowledge(
        self, pod_uid: str, versions: Mapping[str, int], now: datetime, tenant: Tenant = ()
    ) -> None:
        """Records that the replica has these versions, by kind. Durable when it returns."""
        if versions:
            await self.told.submit((pod_uid, versions, seconds(now)), tenant)

    async def share(self, kind: str, version: int, now: datetime, *, volumes: bool = False) -> Share:
        """How many of the live replicas have `version` of that kind, or a later one. All have version 0,
        which is nothing, and is not recorded.

        Replicas without a pod agent poll nothing. With `volumes` they count too: they have what kubelets have
        had for VOLUMES_REFRESHED.
        """
        have = select(acknowledgements.c.pod_uid).where(
            acknowledgements.c.kind == kind, acknowledgements.c.version >= version
        )
        in_volume = issuances.c.secret_id.in_(select(secrets.c.id).where(secrets.c.delivery == VOLUME))
        live = select(func.count(distinct(issuances.c.pod_uid))).where(is_live(now))
        polling, mounting = live.where(~in_volume), live.where(in_volume)
        acknowledged = polling.where(issuances.c.pod_uid.in_(have)) if version else polling
        published = select(acknowledgements.c.at).where(
            acknowledgements.c.pod_uid == KUBELETS,
            acknowledgements.c.kind == kind,
            acknowledgements.c.version >= version,
        )

        def count(connection: Connection) -> Share:
            polls = connection.execute(polling).scalar_one()
            has = connection.execute(acknowledged).scalar_one()
            mounts = connection.execute(mounting).scalar_one() if volumes else 0
            if not mounts:
                return Share(polls, has)
            at = connection.scalar(published)
            refreshed = None if at is None else from_seconds(at) + VOLUMES_REFRESHED
            they_have = refreshed is not None and now >= refreshed
            return Share(polls + mounts, has + (mounts if they_have else 0), mounts, refreshed)

        return await self._access.count(count)

    async def published_to_kubelets(self, kind: str, version: int, now: datetime, *, again: bool) -> None:
        """Notes that kubelets can read `version` since now, unless that is known. `again`: they could read
        something else in between."""
        known = await self.acknowledged(KUBELETS)
        if again or known.get(kind) != version:
            await self.acknowledge(KUBELETS, {kind: version}, now)

    def _acknowledged(self, pods: Sequence[str]) -> Sequence[dict[str, int]]:
        known: dict[str, dict[str, int]] = {}
        for row in self._access.rows(_ACKNOWLEDGED, {"pods": list(set(pods))}):
            known.setdefault(row.pod_uid, {})[row.kind] = row.version
        return [known.get(pod, {}) for pod in pods]

    def _acknowledge(self, batch: Sequence[tuple[str, Mapping[str, int], int]]) -> Sequence[None]:
        # In order, so that two replicas of the agent wait for each other and do not deadlock; once each, as
        # the last to be told.
        rows = {
            (pod, kind): {"kind": kind, "pod_uid": pod, "version": version, "at": at}
            for pod, versions, at in batch
            for kind, version in versions.items()
        }
        adding = self._access.insert(acknowledgements)
        adding = adding.on_conflict_do_update(
            index_elements=["pod_uid", "kind"],
            set_={"version": adding.excluded.version, "at": adding.excluded.at},
        )

        def add(connection: Connection) -> None:
            connection.execute(adding, [rows[key] for key in sorted(rows)])

        available(lambda: self._access.transaction(add))
        return [None] * len(batch)

    async def drop_gone(self, now: datetime) -> int:
        """Removes the acknowledgements of replicas without a valid certificate; returns how many."""
        live = select(issuances.c.pod_uid).where(issuances.c.not_after > seconds(now))
        statement = acknowledgements.delete().where(
            acknowledgements.c.pod_uid.not_in(live), acknowledgements.c.pod_uid != KUBELETS
        )
        return await self._access.write(lambda connection: connection.execute(statement).rowcount)


_ACKNOWLEDGED = select(acknowledgements).where(
    acknowledgements.c.pod_uid.in_(bindparam("pods", expanding=True))
)


# A certificate may be revoked, with its secret, while its pod is not.
_IS_REVOKED = exists().where(
    revoked_certificates.c.issuer == issuances.c.issuer,
    revoked_certificates.c.issuing_key == issuances.c.issuing_key,
    revoked_certificates.c.serial == issuances.c.serial,
)


def is_live(now: datetime) -> ColumnElement[bool]:
    """Whether a row of issuances is a certificate by which its replica is live."""
    return and_(
        issuances.c.not_after > seconds(now),
        issuances.c.pod_uid.not_in(select(revoked_replicas.c.pod_uid)),
        ~_IS_REVOKED,
    )
