"""How long records stay, on both databases: no kind pushes out another, what is left verifies, and nobody who
writes to the database makes the agent itself remove what they want to be gone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from blessings import Principal
from cluster_agent.audit.kinds import Kind, Retention, kind_of, kind_of_chain
from cluster_agent.audit.records import Head, Record, next_hash
from cluster_agent.store import Store
from cluster_agent.store.audit_chain import OwnChain
from cluster_agent.store.audit_pruning import REMOVED_AT_ONCE
from cluster_agent.store.database import database_url
from tests.cluster_agent.audit.test_audit import KEY, NOW, record, report, shown, tamper, writing

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
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ADMINISTRATION) == [1]
    assert numbers(store_url, Kind.REFUSALS) == [2]
    assert numbers(store_url, Kind.TRIPWIRES) == [3]
    assert numbers(store_url, Kind.ISSUING) == list(range(180, 200))
    assert report(store_url).problems == []


async def test_a_flood_of_refusals_pushes_out_only_refusals(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), issued(2), refused(3, "vanadium-bootstrap:ab"))
        await store.audit(*(refused(number) for number in range(200)))
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.REFUSALS) == list(range(190, 200))
    for kind, number in ((Kind.ADMINISTRATION, 1), (Kind.ISSUING, 2), (Kind.TRIPWIRES, 3)):
        assert numbers(store_url, kind) == [number]


async def test_administrative_acts_stay_for_their_days_however_many_they_are(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(
            record(0, NOW - 401 * DAY), *(record(number, NOW - 399 * DAY) for number in range(1, 100))
        )
        await store.audit(issued(0, NOW - 31 * DAY), issued(1, NOW - 29 * DAY))
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ADMINISTRATION) == list(range(1, 100))
    assert numbers(store_url, Kind.ISSUING) == [1]
    assert report(store_url).problems == []


async def test_pruning_leaves_chains_that_verify_and_grow_on_and_says_what_it_removed(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW + number * DAY) for number in range(60)))
        removed = await store.prune_audit(LIMITS, NOW + 60 * DAY)
        await store.audit(issued(60, NOW + 60 * DAY))
    assert removed == 1 + 40  # audit-begun, and all but 20
    assert numbers(store_url, Kind.ISSUING) == list(range(40, 61))
    assert report(store_url).problems == []
    (pruned, *_) = [one for one in shown(store_url) if one["act"] == "audit-pruned"]
    assert kind_of_chain(pruned["chain"]) is Kind.ISSUING
    assert pruned["through"] >= 31


async def test_more_is_removed_than_at_once(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW - 31 * DAY) for number in range(REMOVED_AT_ONCE + 1)))
        await store.audit(issued(7))
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.ISSUING) == [7]
    assert report(store_url).problems == []


async def test_the_oldest_of_all_processes_chains_go_first(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number, NOW - DAY) for number in range(20)))
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(100, 115)))
        await store.prune_audit(LIMITS, NOW)
    assert sorted(numbers(store_url, Kind.ISSUING)) == [*range(16, 20), *range(100, 115)]
    assert report(store_url).problems == []


async def test_what_the_audit_does_itself_is_bounded_too_and_vouching_goes_on(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        for number in range(30):
            await store.audit(refused(number))
            await store.vouch(NOW)
        await store.prune_audit(LIMITS, NOW + 32 * DAY)
        assert sum(one["kind"] is Kind.UPKEEP for one in shown(store_url)) <= LIMITS.others
        await store.vouch(NOW + 32 * DAY)
    vouched = [one["heads"] for one in shown(store_url) if one["act"] == "audit-witnessed"]
    assert any(kind_of_chain(chain) is Kind.ADMINISTRATION for heads in vouched for chain in heads), (
        "its voucher was removed"
    )
    assert report(store_url).problems == []
    tamper(
        store_url,
        "DELETE FROM audit_records WHERE chain LIKE 'administration.%'",
        "DELETE FROM audit_chains WHERE chain LIKE 'administration.%'",
    )
    assert any("it is gone" in problem for problem in report(store_url).problems)


async def write_one_chain_for_all(store: Store, *records: Record) -> None:
    """As the agent did before there were kinds."""
    chain = OwnChain(Kind.BEFORE, lambda: KEY)
    await store._access.write(lambda connection: chain.append(connection, records))


def rename_as_before(url: str) -> None:
    """A chain's name of before was digits alone; its hashes and signature are made anew as they were then."""
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        old = str(connection.scalar(text("SELECT chain FROM audit_chains WHERE chain LIKE 'before.%'")))
        new = old.removeprefix("before.")
        head = Head(new, 0, "")
        rows = connection.execute(
            text("SELECT number, record FROM audit_records WHERE chain = :old ORDER BY number"), {"old": old}
        ).all()
        for row in rows:
            head = Head(new, row.number, next_hash(head, row.record))
            connection.execute(
                text(
                    "UPDATE audit_records SET chain = :new, hash = :hash "
                    "WHERE chain = :old AND number = :number"
                ),
                {"new": new, "hash": head.hash, "old": old, "number": row.number},
            )
        signed = head.signed_by(KEY)
        connection.execute(
            text(
                "UPDATE audit_chains SET chain = :new, hash = :hash, signature = :signed WHERE chain = :old"
            ),
            {"new": new, "hash": head.hash, "signed": signed.signature, "old": old},
        )
    engine.dispose()


async def test_a_chain_of_before_there_were_kinds_verifies_and_is_pruned(store_url: str) -> None:
    async with writing(store_url) as store:
        await write_one_chain_for_all(
            store, record(0, NOW - 401 * DAY), record(1, NOW - 31 * DAY), issued(2, NOW - 31 * DAY)
        )
    rename_as_before(store_url)
    assert report(store_url).problems == []
    assert numbers(store_url, Kind.BEFORE) == [0, 1, 2]
    async with writing(store_url) as store:
        await store.audit(record(3), *(issued(number) for number in range(10, 15)))
        await store.prune_audit(LIMITS, NOW)
        assert numbers(store_url, Kind.BEFORE) == [1, 2], "as long as administration, which is in it"
        await store.audit(*(issued(number) for number in range(20, 40)))
        await store.prune_audit(LIMITS, NOW)
    assert numbers(store_url, Kind.BEFORE) == [], "it takes no more room than it did"
    assert numbers(store_url, Kind.ADMINISTRATION) == [3]
    assert report(store_url).problems == []


@pytest.mark.parametrize(
    "statements",
    [
        ["UPDATE audit_records SET at = 0"],
        ["UPDATE audit_records SET record = replace(record, '2026', '2020')"],
        ["UPDATE audit_chains SET key = '', signature = ''", "UPDATE audit_records SET at = 0"],
        [
            "UPDATE audit_chains "
            "SET base_number = 1, base_hash = (SELECT hash FROM audit_records WHERE number = 1)",
            "UPDATE audit_records SET at = 0",
        ],
        [
            "UPDATE audit_chains SET chain = replace(chain, 'administration', 'issuing')",
            "UPDATE audit_records SET chain = replace(chain, 'administration', 'issuing')",
        ],
    ],
)
async def test_attack_the_agent_is_made_to_remove_records_itself(
    store_url: str, statements: list[str]
) -> None:
    """It would sign the base of what is left, and nothing could be found any more."""
    async with writing(store_url) as store:
        await store.audit(*(record(number) for number in range(30)))
        tamper(store_url, *statements)
        await store.prune_audit(LIMITS, NOW)
    assert len(shown(store_url)) >= 30
    assert report(store_url).problems != []


async def test_attack_a_chain_put_there_to_push_out_the_others(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(10)))
        key = Principal.create()
        other = OwnChain(Kind.ISSUING, lambda: key)
        forged = [issued(number, NOW + DAY) for number in range(100, 150)]
        await store._access.write(lambda connection: other.append(connection, forged))
        await store.prune_audit(LIMITS, NOW)
    assert set(range(10)) <= set(numbers(store_url, Kind.ISSUING))
    assert any("not trusted" in problem for problem in report(store_url).problems)


async def test_attack_an_older_base_is_put_back(store_url: str) -> None:
    """It was signed once; the record of the removal gives it away."""
    async with writing(store_url) as store:
        await store.audit(*(issued(number) for number in range(50)))
        await store.prune_audit(LIMITS, NOW)
        assert report(store_url).problems == []
        tamper(
            store_url, "UPDATE audit_chains SET base_number = 0, base_hash = '' WHERE chain LIKE 'issuing.%'"
        )
    assert any("saw another record" in problem for problem in report(store_url).problems)


async def test_one_transaction_writes_to_several_chains_or_to_none(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1), issued(2))

        def fail(connection: object) -> None:
            trail = store._access.trail
            assert trail is not None
            trail.append(connection, [record(3), issued(4), refused(5)])  # type: ignore[arg-type]
            raise RuntimeError("away")

        with pytest.raises(RuntimeError):
            await store._access.write(fail)
        await store.audit(record(6), issued(7), refused(8))
    assert sorted(one["number"] for one in shown(store_url) if "number" in one) == [1, 2, 6, 7, 8]
    assert report(store_url).problems == []


def test_chains_are_named_by_their_kind() -> None:
    assert kind_of_chain("administration.00ff") is Kind.ADMINISTRATION
    for name in ("00ff00ff00ff00ff", "nobody.00ff", "administration", ""):
        assert kind_of_chain(name) is Kind.BEFORE
