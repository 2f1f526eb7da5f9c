"""What every replica should have, and who has it: publications with versions, fetched by polling.

A pod agent says which versions it has, gets what it lacks, and is told when to ask again. Saying that it has
a version is its acknowledgement. Held-open requests would answer sooner, and cost a connection for each
replica: `--max-connections` is 1000, and a fleet has 100 000. So the pause grows with the fleet: all replicas
together ask `polls_per_second` times, and none more often than every `shortest_pause`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from cluster_agent.model import Issuance
from cluster_agent.store import Share, Store


class Publication(Protocol):
    """Something with versions that count upwards, from 1; 0 stands for having none."""

    @property
    def kind(self) -> str: ...

    @property
    def version(self) -> int:
        """What is current."""

    @property
    def required(self) -> int:
        """From which version on a replica counts as having it: later ones may say nothing new."""

    def after(self, version: int) -> object:
        """What somebody with that version lacks, as JSON."""


@dataclass(frozen=True)
class PollingPace:
    """How often replicas ask."""

    polls_per_second: float
    shortest_pause: timedelta

    def pause(self, live_replicas: int) -> timedelta:
        return max(self.shortest_pause, timedelta(seconds=live_replicas / self.polls_per_second))


class Publications:
    """All of them, with the shares of live replicas that have them, as of the last `count`."""

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
        """By kind."""
        return self._shares

    async def answer(self, replica: Issuance, have: Mapping[str, int]) -> dict[str, object]:
        """What the replica lacks, by kind, and when to ask again. What it has is recorded before. May raise
        Unavailable.

        A version that was never published (the store came from a backup) is not believed: it gets all.
        """
        believed = {
            kind: have[kind] if 0 <= have[kind] <= one.version else 0
            for kind, one in self.by_kind.items()
            if kind in have
        }
        known = await self._store.acknowledgements.of_replica(replica.pod_uid)
        news = {kind: version for kind, version in believed.items() if known.get(kind, 0) != version}
        await self._store.acknowledgements.record(replica.pod_uid, news, self._now())
        live = max((share.live for share in self._shares.values()), default=0)
        return {
            "publications": {
                kind: {"version": one.version, "content": one.after(believed[kind])}
                for kind, one in self.by_kind.items()
                if kind in believed and one.version != believed[kind]
            },
            "askAgainAfterSeconds": round(self._pace.pause(live).total_seconds()),
        }

    async def count(self) -> None:
        """Counts anew who has what. May raise Unavailable."""
        self._shares = {
            kind: await self._store.acknowledgements.share(kind, one.required, self._now())
            for kind, one in self.by_kind.items()
        }

    def describe(self) -> dict[str, object]:
        """For administrators: each kind's version, and who has it."""
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
