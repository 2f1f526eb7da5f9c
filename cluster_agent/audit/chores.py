"""What the audit needs from time to time: refusals written, heads vouched for and noted in the log, old
records removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from cluster_agent.audit.records import HEAD_EVENT, Head
from cluster_agent.audit.refusals import Refusals
from cluster_agent.store import Store

_log = structlog.get_logger(__name__)


def writing_refusals(store: Store, refusals: Refusals) -> Callable[[], Awaitable[None]]:
    async def write() -> None:
        await write_refusals(store, refusals)

    return write


async def write_refusals(store: Store, refusals: Refusals, *, all_of_them: bool = False) -> None:
    """Writes what is due; what cannot be written now is counted with the next. May raise Unavailable."""
    records = refusals.take(all_of_them=all_of_them)
    if not records:
        return
    try:
        await store.audit(*records)
    except Exception:
        refusals.put_back(records)
        raise


def noting_heads(store: Store, now: Callable[[], datetime]) -> Callable[[], Awaitable[None]]:
    """Vouches for other chains, and says in the log, which is kept elsewhere, where ours are."""
    noted: set[Head] = set()

    async def note() -> None:
        nonlocal noted
        heads = await store.vouch(now())
        for head, signed in heads:
            if head not in noted:
                _log.info(
                    HEAD_EVENT,
                    chain=head.chain,
                    number=head.number,
                    hash=head.hash,
                    key=signed.key,
                    signature=signed.signature,
                    fingerprint=signed.fingerprint,
                )
        noted = {head for head, _ in heads}

    return note
