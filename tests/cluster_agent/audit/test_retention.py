"""How long records stay, on both databases: no kind pushes out another, what is left verifies, and it is
found when somebody who writes to the database makes the agent itself remove what they want to be gone."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from cluster_agent.audit.kinds import Kind, Retention, kind_of, kind_of_chain, part_of_chain
from cluster_agent.audit.records import Record
from cluster_agent.audit.verification import Report
from cluster_agent.store.audit_pruning import REMOVED_AT_ONCE, largest_size
from tests.cluster_agent.audit.test_audit import (
    HOUR,
    NOW,
    make_hashes_anew,
    record,
    report,
    shown,
    tamper,
    writing,
)

DAY = timedelta(days=1)
LIMITS = Retention(days=30, administration_days=400, issuing=20, others=10)


def issued(number: int, at: datetime = NOW) -> Record:
    return Record("blessing-issued", at, details={"number": number})


def refused(number: int, caller: str = "", at: datetime = NOW) -> Record:
    return Record("refused", at, caller, {"number": number})


def numbers(url: str, kind: Kind) -> list[int]:
    return [one["number"] for one in shown(url) if one["kind"] is kind and "number" in one]


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        ("claimed", Kind.ADMINISTRATION),
        ("registered", Kind.ADMINISTRATION),
        ("unregistered", Kind.ADMINISTRATION),
        ("revoked", Kind.ADMINISTRATION),
        ("reinstated", Kind.ADMINISTRATION),
        ("roots-changed", Kind.ADMINISTRATION),
        ("chain-renewed", Kind.ADMINISTRATION),
        ("root-key-deleted", Kind.ADMINISTRATION),
        ("what nobody thought of", Kind.ADMINISTRATION),
        ("secret-made", Kind.SECRETS),
        ("entitlement-made", Kind.ISSUING),
        ("secret-forgotten", Kind.SECRETS),
        ("blessing-issued", Kind.ISSUING),
        ("issuer-renewed", Kind.ISSUING),
        ("pod-gone", Kind.ISSUING),
        ("refused", Kind.REFUSALS),
    ],
)
def test_every_act_has_its_kind(act: str, kind: Kind) -> None:
    assert kind_of(Record(act, NOW, "acme:prod:shop:web:web-1")) is kind


def test_a_refusal_of_a_bootstrap_credential_is_a_tripwire() -> None:
    assert kind_of(refused(1, "vanadium-bootstrap:ab")) is Kind.TRIPWIRES


def test_a_refusal_of_a_certificate_of_the_control_plane_has_a_kind_of_its_own() -> None:
    assert kind_of(refused(1, "vanadium-control-plane:webhook")) is Kind.CONTROL_PLANE


def test_what_a_secret_keeper_revoked_is_not_among_secrets_of_which_anybody_may_make_many() -> None:
    forgotten = Record("secret-forgotten", NOW, "vanadium-control-plane:webhook", {"id": "a"})
    assert kind_of(forgotten.saying(revoked=True, certificates=0)) is Kind.SECRETS
    assert kind_of(forgotten.saying(revoked=True, certificates=1)) is Kind.REVOCATIONS


async def test_blessings_push_out_nothing_else(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), refused(2), refused(3, "vanadium-bootstrap:ab"))
        for number in range(200):
            await store.audit(issued(number))
        notes = await store.audit_notes()
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ADMINISTRATION) == [1]
    assert numbers(store_url, Kind.REFUSALS) == [2]
    assert numbers(store_url, Kind.TRIPWIRES) == [3]
    assert numbers(store_url, Kind.ISSUING) == list(range(180, 200))
    assert report(store_url, notes, LIMITS, NOW + 2 * HOUR) == Report(records=2 + 2 + 2 + 20)


async def test_a_flood_of_refusals_pushes_out_only_refusals(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), issued(2), refused(3, "vanadium-bootstrap:ab"))
        await store.audit(*(refused(number) for number in range(200)))
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.REFUSALS) == list(range(190, 200))
    for kind, number in ((Kind.ADMINISTRATION, 1), (Kind.ISSUING, 2), (Kind.TRIPWIRES, 3)):
        assert numbers(store_url, kind) == [number]


def jwt_svid(namespace: str, number: int) -> Record:
    return Record("jwt-svid-issued", NOW, details={"namespace": namespace, "number": number})


async def test_attack_a_namespace_with_very_many_jwt_svids_pushes_out_none_of_another(store_url: str) -> None:
    async with writing(store_url) as store:
        part_of = store._access.trail.part_of
        quiet = next(
            name
            for name in map(str, range(1000))
            if part_of(jwt_svid(name, 0)) != part_of(jwt_svid("loud", 0))
        )
        await store.audit(jwt_svid(quiet, 1), jwt_svid(quiet, 2))
        await store.audit(*(jwt_svid("loud", number) for number in range(10, 200)))
        notes = await store.audit_notes()
        await store.prune_audit(LIMITS, NOW)
        # The two that begin the chains count as well.
        assert sorted(numbers(store_url, Kind.JWT_SVIDS)) == [1, 2, *range(193, 200)]
        assert report(store_url, notes, LIMITS, NOW + 2 * HOUR).problems == []
    # A part that has less than its share loses none.
    cut_off_beginning(store_url, f"{part_of(jwt_svid(quiet, 1))}.%", 2)
    (problem,) = report(store_url, notes, Retention(others=340), NOW + 2 * HOUR).problems[:1]
    assert "missing at its beginning, too early" in problem


@pytest.mark.parametrize(
    ("sizes", "largest"),
    [([], 10), ([7], 10), ([10], 10), ([11], 10), ([2, 90], 8), ([2, 5, 90], 4), ([5, 5], 10), ([6, 6], 5)],
)
def test_the_largest_parts_of_a_full_kind_are_cut_to_one_size(sizes: list[int], largest: int) -> None:
    assert largest_size(sizes, 10) == largest


async def test_administrative_acts_stay_for_their_days_however_many_they_are(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(
            record(0, NOW - 401 * DAY), *(record(number, NOW - 399 * DAY) for number in range(1, 100))
        )
        await store.audit(issued(0, NOW - 31 * DAY), issued(1, NOW - 29 * DAY))
        notes = await store.audit_notes()
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ADMINISTRATION) == list(range(1, 100))
    assert numbers(store_url, Kind.ISSUING) == [1]
    assert report(store_url, notes, LIMITS).problems == []


async def test_pruning_leaves_chains_that_verify_and_grow_on(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW + number * DAY) for number in range(60)))
        notes = await store.audit_notes()
        removed = await store.prune_audit(LIMITS, NOW + 60 * DAY)
        await store.audit(issued(60, NOW + 60 * DAY))
        notes += await store.audit_notes()
    assert removed == 1 + 40  # audit-begun, and all but 20
    assert numbers(store_url, Kind.ISSUING) == list(range(40, 61))
    assert report(store_url, notes, LIMITS, NOW + 61 * DAY) == Report(records=21)


async def test_more_is_removed_than_at_once(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW - 31 * DAY) for number in range(REMOVED_AT_ONCE + 1)))
        notes = await store.audit_notes()
        await store.audit(issued(7))
        notes += await store.audit_notes()
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ISSUING) == [7]
    assert report(store_url, notes, LIMITS).problems == []


async def test_the_oldest_of_all_processes_chains_go_first(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW - DAY) for number in range(20)))
        notes = await store.audit_notes()
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(100, 115)))
        notes += await store.audit_notes()
        await store.prune_audit(LIMITS, NOW)
    # One of the 20 that stay is the second chain's audit-begun.
    assert sorted(numbers(store_url, Kind.ISSUING)) == [*range(16, 20), *range(100, 115)]
    assert report(store_url, notes, LIMITS).problems == []


async def test_of_chains_that_grow_at_once_the_oldest_records_go_first(store_url: str) -> None:
    chance = random.Random(13)
    async with writing(store_url) as first, writing(store_url) as second:
        for number in range(60):
            await chance.choice([first, second]).audit(issued(number, NOW + number * HOUR))
        notes = [*await first.audit_notes(), *await second.audit_notes()]
        await first.prune_audit(LIMITS, NOW + 60 * HOUR)
    assert sorted(numbers(store_url, Kind.ISSUING)) == list(range(40, 60))
    assert report(store_url, notes, LIMITS, NOW + 60 * HOUR).problems == []


async def test_what_was_removed_in_time_is_not_missed_whatever_of_the_log_is_lost(store_url: str) -> None:
    """For years there are acts, notes and prunings; verified against all notes, and against some."""
    chance, notes, at = random.Random(13), [], NOW
    async with writing(store_url) as store:
        for number in range(150):
            at += chance.random() * 12 * DAY
            await store.audit(record(number, at), issued(number, at), refused(number, at=at))
            notes += await store.audit_notes() if chance.random() < 0.7 else []
            if chance.random() < 0.5:
                await store.prune_audit(LIMITS, at)
        notes += await store.audit_notes()
        for known in (notes, notes[-40:], chance.sample(notes, 60)):
            assert report(store_url, known, LIMITS, at).problems == []
    assert numbers(store_url, Kind.ADMINISTRATION)[0] > 0


OLD = "UPDATE audit_records SET at = 0"
OTHER_KIND = "SET chain = replace(chain, 'administration', 'issuing')"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([OLD], "too early"),
        (["UPDATE audit_records SET record = replace(record, '2026', '2020')", OLD], "too early"),
        ([f"UPDATE audit_chains {OTHER_KIND}", f"UPDATE audit_records {OTHER_KIND}"], "it is gone"),
    ],
)
async def test_attack_the_agent_is_made_to_remove_records_itself(
    store_url: str, statements: list[str], said: str
) -> None:
    async with writing(store_url) as store:
        await store.audit(*(record(number) for number in range(30)))
        notes = await store.audit_notes()
        tamper(store_url, *statements)
        make_hashes_anew(store_url)
        await store.prune_audit(LIMITS, NOW)
    assert len(shown(store_url)) < 30
    assert any(said in one for one in report(store_url, notes, LIMITS).problems)


async def test_attack_a_chain_put_there_to_push_out_the_others(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(10)))
        notes = await store.audit_notes()
        async with writing(store_url) as forger:
            await forger.audit(*(issued(number, NOW + DAY) for number in range(100, 150)))
        await store.prune_audit(LIMITS, NOW)
    assert not set(range(10)) & set(numbers(store_url, Kind.ISSUING))
    found = report(store_url, notes, LIMITS, NOW + 2 * DAY)
    assert any("missing at its beginning, too early" in problem for problem in found.problems)
    assert any("20 records, up to 51" in one for one in found.unproved)


def cut_off_beginning(url: str, chain: str, through: int) -> None:
    """As the agent itself does it."""
    of_it = f"number = {through} AND chain LIKE '{chain}'"
    last = f"(SELECT hash FROM audit_records WHERE {of_it})"  # noqa: S608
    tamper(
        url,
        f"UPDATE audit_chains SET base_number = {through}, base_hash = {last} WHERE chain LIKE '{chain}'",  # noqa: S608
        f"DELETE FROM audit_records WHERE chain LIKE '{chain}' AND number <= {through}",  # noqa: S608
    )


async def test_attack_more_is_cut_off_a_beginning_than_was_removed_in_time(store_url: str) -> None:
    notes = []
    async with writing(store_url) as store:
        for number in range(20):
            at = NOW + number * 30 * DAY
            await store.audit(record(number, at), refused(number, at=at))
            notes += await store.audit_notes()
        await store.prune_audit(LIMITS, at)
    assert report(store_url, notes, LIMITS, at).problems == []
    (first, *_) = numbers(store_url, Kind.ADMINISTRATION)
    cut = first + 4
    cut_off_beginning(store_url, "administration.%", cut)
    (problem,) = report(store_url, notes, LIMITS, at).problems
    assert f"to {cut} are missing at its beginning, too early" in problem


async def test_attack_the_beginning_of_a_chain_is_cut_off_while_its_kind_is_full(store_url: str) -> None:
    """The kind has as many as it may, and they are older."""
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW - DAY) for number in range(30)))
        notes = await store.audit_notes()
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(100, 110)))
        notes += await store.audit_notes()
    assert report(store_url, notes, LIMITS).problems == []
    young = notes[-1].head.chain
    cut_off_beginning(store_url, young, 3)
    (problem,) = report(store_url, notes, LIMITS).problems
    assert f"chain {young}: records 1 to 3 are missing at its beginning" in problem


async def test_one_transaction_writes_to_several_chains_or_to_none(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), issued(2))

        def fail(connection: object) -> None:
            trail = store._access.trail
            trail.append(connection, [record(3), issued(4), refused(5)])  # type: ignore[arg-type]
            raise RuntimeError("away")

        with pytest.raises(RuntimeError):
            await store._access.write(fail)
        await store.audit(record(6), issued(7), refused(8))
        notes = await store.audit_notes()
    assert sorted(one["number"] for one in shown(store_url) if "number" in one) == [1, 2, 6, 7, 8]
    assert report(store_url, notes, LIMITS, NOW + 2 * HOUR).unproved == []
    assert report(store_url, notes, LIMITS).problems == []


def test_chains_are_named_by_their_kind_and_part() -> None:
    assert part_of_chain("issuing.00ff") == "issuing"
    assert part_of_chain("jwt-svids.3.00ff") == "jwt-svids.3"
    assert kind_of_chain("jwt-svids.3.00ff") is Kind.JWT_SVIDS
    for name in ("jwt-svids.00ff", "jwt-svids.16.00ff", "jwt-svids.03.00ff"):
        assert part_of_chain(name) == "jwt-svids", "of an earlier version, or not ours"
    assert kind_of_chain("issuing.00ff") is Kind.ISSUING
    for name in ("00ff00ff00ff00ff", "nobody.00ff", "administration", ""):
        assert kind_of_chain(name) is Kind.ADMINISTRATION, "what is not ours is kept longest"
