"""The issued JWT-SVIDs. Nothing of them is stored but their records for the audit, because nobody presents
them here. Those that arrive while others are being recorded are recorded together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from cluster_agent.audit.records import Record
from cluster_agent.errors import Refusal, ReplicaRevoked, SecretForgotten
from cluster_agent.model import Issuance
from cluster_agent.store.access import Access, available
from cluster_agent.store.batches import Batches, pause_seconds
from cluster_agent.store.issuances import LIVE_SECRETS
from cluster_agent.store.locks import hold_off_revocations
from cluster_agent.store.revocations import revoked_among


@dataclass(frozen=True)
class AskedJwtSvid:
    """A JWT-SVID to record, for the replica with that issuance."""

    replica: Issuance
    record: Record


class IssuedJwtSvids:
    """Every call may raise Unavailable, and TooManyRequests."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.asked = Batches(access.writer, self._add, pause=lambda last: asyncio.sleep(pause_seconds(last)))

    async def add(self, replica: Issuance, record: Record) -> None:
        """Records a JWT-SVID; durable when it returns. Raises SecretForgotten or ReplicaRevoked when that
        came first; then nothing is recorded."""
        refusal = await self.asked.submit(AskedJwtSvid(replica, record), (replica.secret_id, replica.pod_uid))
        if refusal is not None:
            raise refusal

    def _add(self, batch: Sequence[AskedJwtSvid]) -> Sequence[Refusal | None]:
        def add(connection: Connection) -> Sequence[Refusal | None]:
            # Revocations wait, as they do for an issuance: what is recorded here came before them.
            hold_off_revocations(connection)
            secrets = sorted({one.replica.secret_id for one in batch})
            live = set(connection.scalars(LIVE_SECRETS, {"ids": secrets}))
            revoked = revoked_among(connection, {one.replica.pod_uid for one in batch})
            refusals = [_refusal(one.replica, live, revoked) for one in batch]
            allowed = [one.record for one, refusal in zip(batch, refusals, strict=True) if refusal is None]
            self._access.append(connection, *allowed)
            return refusals

        return available(lambda: self._access.transaction(add))


def _refusal(replica: Issuance, live: set[str], revoked: set[str]) -> Refusal | None:
    if replica.secret_id not in live:
        return SecretForgotten(replica.secret_id)
    if replica.pod_uid in revoked:
        return ReplicaRevoked(replica.pod_name, replica.pod_uid)
    return None
