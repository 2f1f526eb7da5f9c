"""What removing old records costs others: nobody waits long for it, and no other replica's act fails."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import create_engine, event, text

from cluster_agent.audit.kinds import Kind, Retention
from cluster_agent.store import Store
from cluster_agent.store.audit_trail import AuditTrail
from cluster_agent.store.database import database_url
from tests.cluster_agent.audit.test_audit import KEY, NOW, report, shown, writing
from tests.cluster_agent.audit.test_retention import issued, refused
from tests.postgresql import Postgresql

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
    many = 60
    async with writing(store_url) as store:
        for number in range(many):
            store._access.trail = AuditTrail(lambda: KEY)
            await store.audit(issued(number))
        executed = statements(store)
        assert await store.prune_audit(LIMITS, NOW) == 0
        looking = len(executed)
        assert await store.prune_audit(LIMITS, NOW + 32 * DAY) == 2 * many
        removing = len(executed) - looking
    assert looking < many
    assert removing < many * 5, "and not all chains again for each of them"
    assert report(store_url).problems == []


async def test_removing_what_vouched_waits_for_no_other_replica(postgresql: Postgresql) -> None:
    """Which holds the rows of its chains while it writes to them, and would wait for the others."""
    url = postgresql.new_database()
    engine = create_engine(database_url(url))
    async with writing(url) as one, writing(url) as other:
        await other.audit(refused(1), refused(2, "vanadium-bootstrap:ab"))
        await one.vouch(NOW - 40 * DAY)
        with engine.connect() as held:
            held.execute(text("SELECT chain FROM audit_chains WHERE chain NOT LIKE 'upkeep.%' FOR UPDATE"))
            assert await one.prune_audit(LIMITS, NOW) > 0
    engine.dispose()
    assert next(one["at"][:10] for one in shown(url) if one["kind"] is Kind.UPKEEP) == "2026-11-24"
    assert report(url).problems == []
