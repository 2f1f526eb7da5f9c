"""What removing old records costs others: nobody waits long for it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import event
from structlog.testing import capture_logs

from cluster_agent.audit.kinds import Retention
from cluster_agent.store import Store
from cluster_agent.store.audit_trail import AuditTrail
from tests.cluster_agent.audit.test_audit import NOW, report, writing
from tests.cluster_agent.audit.test_retention import issued

DAY = timedelta(days=1)
LIMITS = Retention(days=30, administration_days=400, issuing=1000, others=1000)


def statements(store: Store) -> list[str]:
    """What is executed from now on by who writes."""
    executed: list[str] = []

    @event.listens_for(store._access.database.writing, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    return executed


async def test_chains_of_many_processes_are_looked_at_together(store_url: str) -> None:
    """An agent that crashes again and again makes some at every start."""
    many, notes = 60, []
    async with writing(store_url) as store:
        for number in range(many):
            store._access.trail = AuditTrail()
            await store.audit(issued(number))
            notes += await store.audit_notes()
        executed = statements(store)
        assert await store.prune_audit(LIMITS, NOW) == 0
        looking = len(executed)
        assert await store.prune_audit(LIMITS, NOW + 32 * DAY) == 2 * many
        removing = len(executed) - looking
    assert looking < many
    assert removing < many * 5, "and not all chains again for each of them"
    assert report(store_url, notes, LIMITS, NOW + 32 * DAY).problems == []


async def test_what_is_removed_is_in_the_log(store_url: str) -> None:
    """An attacker can make the agent remove records; the log then has until where, and when."""
    async with writing(store_url) as store:
        for number in range(3):
            await store.audit(issued(number))
        (note,) = await store.audit_notes()
        with capture_logs() as logged:
            assert await store.prune_audit(LIMITS, NOW) == 0
            assert await store.prune_audit(LIMITS, NOW + 32 * DAY) == 4
    assert logged == [
        {
            "event": "audit records removed",
            "log_level": "info",
            "chain": note.head.chain,
            "through": note.head.number,
        }
    ]
