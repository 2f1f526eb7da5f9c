"""Who writes to the database, and has no key, cuts the end of a chain off: an older head was signed once.
Verifying finds it by what other chains say, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from cluster_agent.audit.kinds import Kind, Retention
from cluster_agent.store.database import database_url
from tests.cluster_agent.audit.test_audit import NOW, record, report, shown, tamper, writing
from tests.cluster_agent.audit.test_retention import issued, refused
from tests.postgresql import Postgresql

DAY = timedelta(days=1)
LIMITS = Retention(days=30, administration_days=400, issuing=1000, others=1000)


def saved_heads(url: str, *kinds: Kind) -> Sequence[Any]:
    """Rows of chains, as who reads the database may keep them."""
    statement = text("SELECT * FROM audit_chains WHERE chain LIKE :kind")
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        rows = [row for kind in kinds for row in connection.execute(statement, {"kind": f"{kind}.%"})]
    engine.dispose()
    assert rows
    return rows


def cut_back(url: str, rows: Sequence[Any]) -> None:
    """What came after the saved heads is gone, and they are back."""
    for row in rows:
        tamper(
            url,
            f"DELETE FROM audit_records WHERE chain = '{row.chain}' AND number > {row.number}",  # noqa: S608
            f"UPDATE audit_chains SET number = {row.number}, hash = '{row.hash}', "  # noqa: S608
            f"signature = '{row.signature}' WHERE chain = '{row.chain}'",
        )


def remove(url: str, rows: Sequence[Any]) -> None:
    for row in rows:
        tamper(
            url,
            f"DELETE FROM audit_records WHERE chain = '{row.chain}'",  # noqa: S608
            f"DELETE FROM audit_chains WHERE chain = '{row.chain}'",  # noqa: S608
        )


async def test_attack_the_end_of_a_quiet_chain_is_cut_off_before_it_was_vouched_for(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        await store.vouch(NOW)
        saved = saved_heads(store_url, Kind.ADMINISTRATION)
        await store.audit(record(2))
        cut_back(store_url, saved)
        await store.audit(issued(3))
        await store.vouch(NOW)
    assert any("it ends with record 2, chain upkeep" in one for one in report(store_url).problems)


async def test_attack_the_end_of_a_chain_is_cut_off_with_what_vouched_for_it(store_url: str) -> None:
    """And nothing is done any more that would be written after it."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        await store.vouch(NOW)
        saved = saved_heads(store_url, Kind.ADMINISTRATION, Kind.UPKEEP)
        await store.audit(record(2))
        await store.vouch(NOW)
        cut_back(store_url, saved)
        assert report(store_url).problems == []  # until it looks again
        await store.vouch(NOW)
        problems = report(store_url).problems
        await store.audit(record(4))
        await store.vouch(NOW)
    assert any("administration" in one and "it ends with record 2" in one for one in problems)
    assert any("chain upkeep" in one and "it ends with record 2" in one for one in problems)
    assert report(store_url).problems == problems, "what is done from then on verifies"


async def test_attack_the_same_when_upkeep_is_written_to_before_it_looks_again(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), issued(1, NOW - 31 * DAY))
        await store.vouch(NOW)
        saved = saved_heads(store_url, Kind.ADMINISTRATION, Kind.UPKEEP)
        await store.audit(record(2))
        await store.vouch(NOW)
        cut_back(store_url, saved)
        await store.prune_audit(LIMITS, NOW)
        await store.vouch(NOW)
    problems = report(store_url).problems
    assert any("administration" in one and "it ends with record 2" in one for one in problems)


async def test_attack_a_chain_is_marked_as_vouched_for_already(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        saved = saved_heads(store_url, Kind.ADMINISTRATION)
        tamper(store_url, "UPDATE audit_chains SET witnessed = 1099511627776")
        for number in range(5):
            await store.audit(record(number))
            await store.vouch(NOW)
        cut_back(store_url, saved)
        await store.audit(issued(9))
        await store.vouch(NOW)
    assert any("it ends with record 2, chain upkeep" in one for one in report(store_url).problems)


async def test_attack_a_chain_of_before_is_removed_when_what_vouched_for_it_is_too_old(
    store_url: str,
) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        await store.vouch(NOW)
    async with writing(store_url) as store:
        await store.prune_audit(LIMITS, NOW + 32 * DAY)
        assert report(store_url).problems == []
        remove(store_url, saved_heads(store_url, Kind.ADMINISTRATION))
        await store.vouch(NOW + 32 * DAY)
    assert any("it is gone" in one for one in report(store_url).problems)


async def test_attack_a_cut_is_known_for_longer_than_the_record_that_told_it(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        saved = saved_heads(store_url, Kind.ADMINISTRATION)
        await store.audit(record(2))
        await store.vouch(NOW)
    cut_back(store_url, saved)
    async with writing(store_url) as store:
        for days in (10, 32, 70):
            await store.vouch(NOW + days * DAY)
            await store.prune_audit(LIMITS, NOW + days * DAY)
    assert next(one["at"] for one in shown(store_url) if one["kind"] is Kind.UPKEEP) > "2027"
    assert any("it ends with record 2, chain upkeep" in one for one in report(store_url).problems)


async def test_what_was_removed_in_time_need_not_be_vouched_for_any_more(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(issued(1))
        await store.vouch(NOW)
    async with writing(store_url) as store:
        await store.prune_audit(LIMITS, NOW + 32 * DAY)
        await store.vouch(NOW + 32 * DAY)
    vouched = [one["heads"] for one in shown(store_url) if one["act"] == "audit-witnessed"]
    assert not [chain for heads in vouched for chain in heads if chain.startswith(Kind.ISSUING)]
    assert report(store_url).problems == []


async def test_attack_the_own_chain_was_cut_off_and_is_written_to(store_url: str) -> None:
    """The rest goes on in another chain, so that what verifying says is about the cut alone."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        saved = saved_heads(store_url, Kind.ADMINISTRATION)
        await store.audit(record(2))
        cut_back(store_url, saved)
        await store.audit(record(3))
        await store.vouch(NOW)
        await store.audit(record(4))
    (problem,) = report(store_url).problems
    assert "it ends with record 2, chain upkeep" in problem
    assert sorted(one["number"] for one in shown(store_url) if one["act"] == "tested") == [1, 3, 4]


async def test_attack_a_chain_is_cut_off_while_a_transaction_is_in_doubt(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        saved = saved_heads(store_url, Kind.ADMINISTRATION)
        await store.audit(record(2))

        def fail(connection: object) -> None:
            trail = store._access.trail
            assert trail is not None
            trail.append(connection, [record(3)])  # type: ignore[arg-type]
            raise RuntimeError("away")

        with pytest.raises(RuntimeError):
            await store._access.write(fail)
        cut_back(store_url, saved)
        await store.audit(record(4))
        await store.vouch(NOW)
    (problem,) = report(store_url).problems
    assert "it ends with record 2, chain upkeep" in problem


async def test_attack_the_chains_of_a_busy_replica_are_put_back(postgresql: Postgresql) -> None:
    """Nobody else vouched for them, because they grew all the time."""
    url = postgresql.new_database()
    async with writing(url) as other:
        async with writing(url) as busy:
            await busy.audit(record(0))
            await other.vouch(NOW)
            await busy.audit(record(1))
            saved = saved_heads(url, Kind.ADMINISTRATION)
            await busy.audit(record(2))
            await other.vouch(NOW)
        cut_back(url, saved)
        await other.vouch(NOW)
    assert any("it ends with record 3, chain upkeep" in one for one in report(url).problems)


async def test_a_chain_that_another_process_writes_to_is_left_to_it(store_url: str) -> None:
    """It vouches for its own; else all would say of all, every minute."""
    if store_url.startswith("sqlite"):
        return  # has one replica
    async with writing(store_url) as first, writing(store_url) as second:
        await second.audit(refused(0))
        await first.vouch(NOW)
        for number in range(1, 5):
            await second.audit(refused(number))
            await first.vouch(NOW)
        assert len([one for one in shown(store_url) if one["act"] == "audit-witnessed"]) == 1
        await first.vouch(NOW)
        last = [one["heads"] for one in shown(store_url) if one["act"] == "audit-witnessed"][-1]
        assert [number for number, _ in last.values()] == [6], "it stands still"
    assert report(store_url).problems == []
