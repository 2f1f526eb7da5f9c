"""The audit's periodic work: writing refusals, and noting heads in the log."""

from __future__ import annotations

import structlog

from blessings import Principal
from cluster_agent.audit import notes
from cluster_agent.audit.refusals import Refusals
from cluster_agent.store import Store

_log = structlog.get_logger(__name__)


async def write_refusals(store: Store, refusals: Refusals, *, all_of_them: bool = False) -> None:
    """Writes the refusals that are due; those that cannot be written are counted with the next. May raise
    Unavailable."""
    records = refusals.take(all_of_them=all_of_them)
    if not records:
        return
    try:
        await store.audit(*records)
    except Exception:
        refusals.put_back(records)
        raise


async def note_heads(store: Store, issuing: Principal) -> None:
    """Notes the heads of this process's chains, signed with `issuing`, in the log, which is kept
    elsewhere."""
    for one in await store.audit_notes():
        _log.info(notes.EVENT, **one.line(issuing))
