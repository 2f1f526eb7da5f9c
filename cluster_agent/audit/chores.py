"""What the audit needs from time to time: refusals written, heads vouched for and noted in the log, old
records removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from cluster_agent.audit.records import HEAD_EVENT, Head
from cluster_agent.audit.refusals import Refusals
from cluster_agent.errors import Refusal
from cluster_agent.store import Store

REFUSALS_SECONDS = 1.0
HEADS_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def writing_refusals(store: Store, refusals: Refusals) -> Callable[[], Awaitable[None]]:
    async def write() -> None:
        await write_refusals(store, refusals)

    return write


async def write_refusals(store: Store, refusals: Refusals, *, all_of_them: bool = False) -> None:
    """Writes what is due; what cannot be written now is counted with the next."""
    records = refusals.take(all_of_them=all_of_them)
    if not records:
        return
    try:
        await store.audit(*records)
    except Refusal as error:
        refusals.put_back(records)
        _log.error("refusals not recorded yet", reason=error.reason, error=str(error))


def noting_heads(store: Store, now: Callable[[], datetime]) -> Callable[[], Awaitable[None]]:
    """Vouches for other replicas' chains, and says in the log, which is kept elsewhere, where ours is."""
    noted: Head | None = None

    async def note() -> None:
        nonlocal noted
        try:
            signed_head = await store.vouch(now())
        except Refusal as error:
            _log.error("heads of the audit not noted", reason=error.reason, error=str(error))
            return
        if signed_head is None or signed_head[0] == noted:
            return
        noted, signed = signed_head
        _log.info(
            HEAD_EVENT,
            chain=noted.chain,
            number=noted.number,
            hash=noted.hash,
            key=signed.key,
            signature=signed.signature,
            fingerprint=signed.fingerprint,
        )

    return note


async def prune(store: Store, days: int, most: int, now: datetime) -> int:
    """Removes records that are too old or too many; answers how many. Raises Unavailable."""
    return await store.prune_audit(now - timedelta(days=days), most, now)
