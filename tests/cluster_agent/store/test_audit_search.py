"""The search of the audit, page by page, on both databases."""

from __future__ import annotations

from datetime import timedelta

from cluster_agent.audit import Record
from cluster_agent.store import Store
from cluster_agent.store.audit_search import Place, Wanted
from tests.cluster_agent.store.test_store import NOW

ALL = Wanted(NOW - timedelta(days=1), NOW + timedelta(days=1))


async def filled(store: Store) -> None:
    """Eight records in two chains, some of the same second; and what begins each chain."""
    for number in range(4):
        at = NOW + timedelta(seconds=number // 2)
        await store.audit(Record("revoked", at, "acme:administrator", {"name": f"acme:web_{number}"}))
        await store.audit(Record("blessing-issued", at, "", {"name": f"acme:web:{number}"}))


async def test_every_record_is_on_one_page_the_newest_first(store: Store) -> None:
    await filled(store)
    whole = await store.audit_search.records(ALL, limit=100)
    assert len(whole) == 10
    assert [place.at for place, _ in whole] == sorted((place.at for place, _ in whole), reverse=True)
    paged: list[tuple[Place, str]] = []
    before: Place | None = None
    while page := await store.audit_search.records(ALL, limit=3, before=before):
        paged += page
        before = page[-1][0]
    assert paged == list(whole)


async def test_time_and_texts_narrow_it(store: Store) -> None:
    await filled(store)
    found = await store.audit_search.records(Wanted(ALL.since, ALL.until, ['"act":"revoked"']), limit=100)
    assert len(found) == 4
    # What has a meaning in LIKE is meant as it is.
    found = await store.audit_search.records(Wanted(ALL.since, ALL.until, ['"acme:web_']), limit=100)
    assert len(found) == 4
    assert await store.audit_search.records(Wanted(ALL.since, ALL.until, ["%"]), limit=100) == []
    first = Wanted(NOW, NOW + timedelta(seconds=1), ['"act":"revoked"'])
    assert len(await store.audit_search.records(first, limit=100)) == 2
