"""Publications: documents with versions that every replica should have, fetched by polling.

A pod agent states which versions it has, gets what it lacks, and is told when to ask again. Stating a version
is also its acknowledgement. Long polling would answer sooner, but cost a connection for each replica:
`--max-connections` is 1000, and a fleet has 100 000 replicas. So the pause grows with the fleet: all replicas
together ask `polls_per_second` times, and none of them more often than every `shortest_pause`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cluster_agent.model import Issuance
from cluster_agent.store import Share, Store

# The publication that also replicas without a pod agent get, by their kubelets.
ROOTS = "roots"


class Publication(Protocol):
    """A document whose version counts upwards from 1; 0 means that a replica has none."""

    @property
    def kind(self) -> str: ...

    @property
    def version(self) -> int:
        """The current version."""

    @property
    def required(self) -> int:
        """The lowest version with which a replica is up to date; later versions may change nothing for it."""

    def after(self, version: int, applications: Collection[str]) -> object:
        """What a replica with that version lacks, as JSON, as far as it concerns these applications."""


@dataclass(frozen=True)
class PollingPace:
    """The pace at which replicas poll."""

    polls_per_second: float
    shortest_pause: timedelta

    def pause(self, live_replicas: int) -> timedelta:
        return max(self.shortest_pause, timedelta(seconds=live_replicas / self.polls_per_second))


class Publications:
    """All publications, with the shares of live replicas that have them, as of the last `count`."""

    def __init__(
        self,
        store: Store,
        publications: Sequence[Publication],
        pace: PollingPace,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self.by_kind = {one.kind: one for one in publications}
        self._pace = pace
        self._now = now
        self._shares: dict[str, Share] = {kind: Share(0, 0) for kind in self.by_kind}

    @property
    def shares(self) -> Mapping[str, Share]:
        """The shares, by kind of publication."""
        return self._shares

    async def answer(
        self, replica: Issuance, have: Mapping[str, int], applications: Collection[str] = ()
    ) -> dict[str, object]:
        """What the replica lacks, by kind, and when to ask again. Records first what it has. May raise
        Unavailable.

        A version that was never published is not believed, and the replica gets everything. This happens
        after the store was restored from a backup.
        """
        believed = {
            kind: have[kind] if 0 <= have[kind] <= one.version else 0
            for kind, one in self.by_kind.items()
            if kind in have
        }
        tenant = (replica.secret_id, replica.pod_uid)
        known = await self._store.fleet.acknowledged(replica.pod_uid, tenant)
        news = {kind: version for kind, version in believed.items() if known.get(kind, 0) != version}
        await self._store.fleet.acknowledge(replica.pod_uid, news, self._now(), tenant)
        live = max((share.live for share in self._shares.values()), default=0)
        return {
            "publications": {
                kind: {"version": one.version, "content": one.after(believed[kind], applications)}
                for kind, one in self.by_kind.items()
                if kind in believed and one.version != believed[kind]
            },
            "askAgainAfterSeconds": round(self._pace.pause(live).total_seconds()),
        }

    async def count(self) -> None:
        """Counts again which replicas have which version. May raise Unavailable."""
        self._shares = {
            kind: await self._store.fleet.share(kind, one.required, self._now(), volumes=kind == ROOTS)
            for kind, one in self.by_kind.items()
        }

    def describe(self) -> dict[str, object]:
        """For administrators: each kind's version, and the share of replicas that have it."""
        return {
            kind: {
                "version": one.version,
                "required": one.required,
                "liveReplicas": self._shares[kind].live,
                "acknowledged": self._shares[kind].acknowledged,
                "share": self._shares[kind].ratio,
            }
            for kind, one in self.by_kind.items()
        }
