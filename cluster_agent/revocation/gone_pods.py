"""Deleted Pods, whose certificates are revoked: the leader lists and watches Pods, with metadata only.

A Pod is gone when the API server states it: by a DELETED event of the watch, or by a complete list, read from
its database, without a Pod that we knew before the list began. No answer, half an answer or an error states
nothing, and nothing is revoked. A list that would revoke most live replicas is not believed either: it means
a restored backup or the wrong cluster. The certificates of those Pods expire by themselves.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from cluster_agent.audit import Record
from cluster_agent.kubernetes.pods import PodList
from cluster_agent.store import Store

_log = structlog.get_logger(__name__)

# The API server may accept a deleted Pod's token for 10 s more (its cache), and a review takes 5 s.
WATCHED_AFTER_DELETION = timedelta(seconds=60)
# A list may remove this many at once, or this share of the live replicas.
MOST_AT_ONCE, MOST_SHARE = 20, 0.5


class Pods(Protocol):
    """The Pods at the API server."""

    async def list(self) -> PodList:
        """The current, complete list of Pods. Raises ApiServerAway."""

    def deletions(self, resource_version: str) -> AsyncIterator[str]:
        """The UIDs of Pods that are deleted after that version, until the server ends the watch. Raises
        ApiServerAway."""


class GonePods:
    """The Pods that are known to be gone, and the revocation of their certificates."""

    def __init__(
        self,
        store: Store,
        pods: Pods,
        revoked: Callable[[], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        """`revoked` is called when certificates were revoked."""
        self._store = store
        self._pods = pods
        self._revoked = revoked
        self._now = now
        self._deleted: dict[str, datetime] = {}

    async def follow(self) -> None:
        """Lists Pods, then watches until the watch ends. Raises ApiServerAway; may raise Unavailable."""
        async for uid in self._pods.deletions(await self._compare()):
            self.note_deleted(uid)

    async def _compare(self) -> str:
        """Revokes the certificates of Pods missing in the list, and returns the list's version. The lists are
        as long as the fleet, and are freed when this returns."""
        known = await self._store.fleet.live_pods(self._now())
        listed = await self._pods.list()
        await self.revoke_absent(known, listed.uids)
        return listed.resource_version

    def note_deleted(self, uid: str) -> None:
        """Notes that the API server reported this Pod as deleted."""
        self._deleted[uid] = self._now()

    async def revoke_noted(self) -> None:
        """Revokes the certificates of deleted Pods. It repeats this for a while, because a token of theirs
        may still be accepted. May raise Unavailable."""
        now = self._now()
        # `abs`: the clock may have been ahead when a deletion was noted.
        self._deleted = {
            uid: at for uid, at in self._deleted.items() if abs(now - at) < WATCHED_AFTER_DELETION
        }
        await self._revoke(set(self._deleted))

    async def revoke_absent(self, known: frozenset[str], listed: frozenset[str]) -> None:
        """Revokes the certificates of `known` Pods that are not `listed`, unless there are too many to
        believe."""
        absent = known - listed
        if len(absent) > max(MOST_AT_ONCE, MOST_SHARE * len(known)):
            _log.error(
                "most Pods are gone by the API server's list; not believed, nothing revoked",
                absent=len(absent),
                live=len(known),
            )
            return
        await self._revoke(absent)

    async def _revoke(self, uids: set[str] | frozenset[str]) -> None:
        if not uids:
            return
        now = self._now()
        done = await self._store.revocations.revoke_gone(sorted(uids), now, Record("pod-gone", now))
        if done.certificates:
            _log.info("gone Pods revoked", certificates=done.certificates)
            await self._revoked()
