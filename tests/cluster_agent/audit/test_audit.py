"""The audit on both databases: every act leaves a record, and no record can be changed, removed or moved
without being found by the heads that the log noted. The attacker here writes to the database whatever they
like, and has no key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import create_engine, insert, select, text, update
from structlog.testing import capture_logs

from blessings import Principal, fingerprint
from cluster_agent.audit.kinds import Retention, kind_of_chain
from cluster_agent.audit.notes import InvalidNote, Note
from cluster_agent.audit.records import Head, Record, next_hash
from cluster_agent.audit.refusals import (
    BURST,
    CREDENTIAL_BURST,
    MOST_BUDGETS,
    MOST_TOGETHER,
    Refusals,
)
from cluster_agent.audit.verification import Report, Verification
from cluster_agent.errors import Forbidden, SecretForgotten, TooManyRequests, Unavailable
from cluster_agent.model import Issuance
from cluster_agent.store import Store, open_store
from cluster_agent.store.audit_reading import reading_audit
from cluster_agent.store.database import database_url
from cluster_agent.store.tables import audit_records
from cluster_agent.verify_audit import main as verify_audit
from tests.clock import Clock
from tests.cluster_agent.store.test_store import SECRET, issuance
from tests.cluster_agents import running_cluster_agent

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
AS_SET_BY_DEFAULT = Retention()


def record(number: int, at: datetime = NOW) -> Record:
    """Of an act that is none of the frequent ones, so it is in the chain of administration."""
    return Record("tested", at, "acme:prod:tester", {"number": number})


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


async def written(url: str, count: int = 5) -> list[Note]:
    """One chain of `audit-begun` and `count` records, and the note of its head."""
    async with writing(url) as store:
        for number in range(count):
            await store.audit(record(number))
        return await store.audit_notes()


def report(
    url: str, notes: Iterable[Note] = (), retention: Retention = AS_SET_BY_DEFAULT, now: datetime = NOW
) -> Report:
    with reading_audit(url) as audit:
        verification = Verification(notes, retention, now)
        return verification.verify(audit.bases(), audit.records_of, audit.names())


def acts(url: str) -> list[str]:
    return [one["act"] for one in shown(url)]


def shown(url: str) -> list[dict[str, Any]]:
    """Every record, with the kind of its chain."""
    with reading_audit(url) as audit:
        return [
            {"kind": kind_of_chain(base.chain), **json.loads(one.text)}
            for base in audit.bases()
            for one in audit.records_of(base.chain)
        ]


def tamper(url: str, *statements: str) -> None:
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0, f"changed nothing: {statement}"
    engine.dispose()


def make_hashes_anew(url: str) -> None:
    """Whatever is in the chains now: for that nobody needs a key."""
    engine, columns = create_engine(database_url(url)), audit_records.c
    with reading_audit(url) as audit:
        bases = audit.bases()
    with engine.begin() as connection:
        for base in bases:
            at = base
            rows = select(columns.number, columns.record).where(columns.chain == at.chain)
            for number, content in connection.execute(rows.order_by(columns.number)).all():
                at = Head(at.chain, number, next_hash(replace(at, number=number - 1), content))
                this = (columns.chain == at.chain) & (columns.number == number)
                connection.execute(update(audit_records).where(this).values(hash=at.hash))
    engine.dispose()


async def test_what_was_written_verifies(store_url: str) -> None:
    notes = await written(store_url)
    assert [(note.after, note.head.number) for note in notes] == [(0, 6)]
    assert report(store_url, notes, now=NOW + 2 * HOUR) == Report(records=6)


CHANGED = ["UPDATE audit_records SET record = replace(record, 'tester', 'nobody') WHERE number = 3"]
SWAPPED = [
    "UPDATE audit_records SET number = 99 WHERE number = 3",
    "UPDATE audit_records SET number = 3 WHERE number = 4",
    "UPDATE audit_records SET number = 4 WHERE number = 99",
]
BEGINNING_CUT_OFF = [
    "UPDATE audit_chains SET base_number = 2, base_hash = (SELECT hash FROM audit_records WHERE number = 2)",
    "DELETE FROM audit_records WHERE number <= 2",
]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (CHANGED, "3 was changed"),
        (["UPDATE audit_records SET at = 7 WHERE number = 3"], "3 was changed"),
        (["UPDATE audit_records SET hash = 'ab' WHERE number = 3"], "3 was changed"),
        (["DELETE FROM audit_records WHERE number = 3"], "record 3 is missing"),
        (["DELETE FROM audit_records WHERE number = 1"], "record 1 is missing"),
        (["DELETE FROM audit_records WHERE number = 6"], "record 6 is missing at its end"),
        (["DELETE FROM audit_records WHERE number >= 4"], "records 4 to 6 are missing at its end"),
        (SWAPPED, "3 was changed"),
        (BEGINNING_CUT_OFF, "records 1 to 2 are missing at its beginning"),
        (["DELETE FROM audit_chains"], "there are records, and no beginning"),
        (["DELETE FROM audit_records"], "records 1 to 6 are missing at its end"),
        (["DELETE FROM audit_records", "DELETE FROM audit_chains"], "it is gone, the log noted 6 records"),
        (["UPDATE audit_chains SET base_hash = 'ab'"], "record 1 was changed"),
        (["UPDATE audit_chains SET base_number = 6"], "missing at its beginning"),
    ],
)
async def test_attack_every_change_is_found(store_url: str, statements: list[str], said: str) -> None:
    notes = await written(store_url)
    tamper(store_url, *statements)
    assert any(said in problem for problem in report(store_url, notes).problems)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (CHANGED, "the log noted another record 6"),
        (["UPDATE audit_chains SET base_hash = 'ab'"], "the log noted another record 6"),
        (SWAPPED, "the log noted another record 6"),
        (
            [
                "DELETE FROM audit_records WHERE number = 3",
                "UPDATE audit_records SET number = 3 WHERE number = 4",
                "UPDATE audit_records SET number = 4 WHERE number = 5",
                "UPDATE audit_records SET number = 5 WHERE number = 6",
            ],
            "record 6 is missing at its end",
        ),
        (
            [
                "UPDATE audit_records SET number = 9 WHERE number = 6",
                "INSERT INTO audit_records "
                "SELECT chain, 6, at, record, hash FROM audit_records WHERE number = 5",
                "UPDATE audit_records SET number = 7 WHERE number = 9",
            ],
            "the log noted another record 6",
        ),
        (BEGINNING_CUT_OFF, "records 1 to 2 are missing at its beginning"),
        (["DELETE FROM audit_records WHERE number >= 4"], "records 4 to 6 are missing at its end"),
    ],
)
async def test_attack_all_hashes_are_made_anew_after_it(
    store_url: str, statements: list[str], said: str
) -> None:
    """The database alone then shows nothing; the noted head does."""
    notes = await written(store_url)
    tamper(store_url, *statements)
    make_hashes_anew(store_url)
    assert report(store_url).problems == []
    assert any(said in problem for problem in report(store_url, notes).problems)


async def test_attack_a_chain_is_replaced_by_another(store_url: str) -> None:
    notes = await written(store_url)
    tamper(store_url, "DELETE FROM audit_records", "DELETE FROM audit_chains")
    await written(store_url)
    found = report(store_url, notes, now=NOW + 2 * HOUR)
    (problem,), (unproved,) = found.problems, found.unproved
    assert f"chain {notes[0].head.chain}: it is gone, the log noted 6 records" in problem
    assert "6 records, up to 6, come after the last noted head" in unproved
    name = notes[0].head.chain
    for table in ("audit_records", "audit_chains"):
        tamper(store_url, f"UPDATE {table} SET chain = '{name}'")  # noqa: S608 - a name of ours
    tamper(store_url, *CHANGED)
    make_hashes_anew(store_url)
    assert any("the log noted another record 6" in one for one in report(store_url, notes).problems)


MINUTE = timedelta(minutes=1)


def forge(url: str, at: datetime) -> None:
    """Adds a record to the chain, as fits its head: for that nobody needs a key."""
    engine, columns = create_engine(database_url(url)), audit_records.c
    newest = select(columns.chain, columns.number, columns.hash).order_by(columns.number.desc()).limit(1)
    with engine.begin() as connection:
        head = Head(*connection.execute(newest).one())
        content = record(7, at).text()
        row = {"at": int(at.timestamp()), "record": content, "hash": next_hash(head, content)}
        connection.execute(insert(audit_records).values(chain=head.chain, number=head.number + 1, **row))
    engine.dispose()


UNPROVED = "1 records, up to 7, come after the last noted head"
FROM_THE_FUTURE = "record 7 is dated more than an hour in the future"


@pytest.mark.parametrize(
    ("age", "unproved", "problem"),
    [
        pytest.param(2 * HOUR, UNPROVED, None, id="old"),
        pytest.param(6 * MINUTE, UNPROVED, None, id="minutes ago"),
        pytest.param(-6 * MINUTE, UNPROVED, None, id="soon"),
        pytest.param(-61 * MINUTE, None, FROM_THE_FUTURE, id="future"),
        pytest.param(-10 * 365 * 24 * HOUR, None, FROM_THE_FUTURE, id="far future"),
    ],
)
async def test_attack_records_are_added_that_no_agent_wrote(
    store_url: str, age: timedelta, unproved: str | None, problem: str | None
) -> None:
    """An agent that was killed leaves such records from its last minute too, so they are reported apart."""
    notes = await written(store_url)
    now = NOW + 2 * HOUR
    forge(store_url, now - age)
    found = report(store_url, notes, now=now)
    assert [one.partition(": ")[2] for one in found.problems] == ([problem] if problem else [])
    assert [one.partition(": ")[2] for one in found.unproved] == ([unproved] if unproved else [])


async def test_attack_a_record_is_added_just_now(store_url: str) -> None:
    """It could be one that is not noted yet; a few minutes later it could not."""
    notes = await written(store_url)
    forge(store_url, NOW)
    assert report(store_url, notes, now=NOW + MINUTE) == Report(records=7)
    (unproved,) = report(store_url, notes, now=NOW + 6 * MINUTE).unproved
    assert UNPROVED in unproved


async def test_noted_records_of_an_agent_with_a_fast_clock_are_proved(store_url: str) -> None:
    notes = await written(store_url)
    assert report(store_url, notes, now=NOW - 2 * HOUR) == Report(records=6)


async def test_attack_an_older_state_is_put_back(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        first = await store.audit_notes()
        await store.audit(record(2))
        second = await store.audit_notes()
        assert await store.audit_notes() == [], "what is noted is not noted again"
    assert [(note.after, note.head.number) for note in first + second] == [(0, 2), (2, 3)]
    assert report(store_url, first + second).problems == []
    tamper(store_url, "DELETE FROM audit_records WHERE number = 3")
    assert report(store_url, first).problems == []
    (problem,) = report(store_url, first + second).problems
    assert "record 3 is missing at its end" in problem


def test_a_note_is_of_who_signed_it() -> None:
    key, other = Principal.create(), Principal.create()
    note = Note(Head("administration.ab", 7, "cd"), after=3, since=5)
    line = note.line(key)
    for trusted in ({fingerprint(key.public_key)}, frozenset[str]()):
        assert Note.of_line(line, trusted) == note
    with pytest.raises(InvalidNote, match="which is not trusted"):
        Note.of_line(line, {fingerprint(other.public_key)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chain": "refusals.ab"}, "is not signed"),
        ({"number": 8}, "is not signed"),
        ({"hash": "ef"}, "is not signed"),
        ({"after": 0}, "is not signed"),
        ({"since": 6}, "is not signed"),
        ({"signature": "zz"}, "cannot be read"),
        ({"key": ""}, "cannot be read"),
        ({"number": "seven"}, "cannot be read"),
        ({"hash": None}, "is not signed"),
    ],
)
def test_attack_a_note_in_the_log_that_no_agent_made(changes: dict[str, Any], said: str) -> None:
    key = Principal.create()
    line = Note(Head("administration.ab", 7, "cd"), after=3, since=5).line(key)
    with pytest.raises(InvalidNote, match=said):
        Note.of_line({**line, **changes}, {fingerprint(key.public_key)})


def test_attack_what_the_key_signed_for_another_purpose_is_no_note() -> None:
    key = Principal.create()
    note = Note(Head("administration.ab", 7, "cd"), after=3, since=5)
    _, _, content = note._statement().partition(b"\n")
    trusted = {fingerprint(key.public_key)}
    for other in (b"vanadium cluster agent, application, version 1\n" + content, content):
        with pytest.raises(InvalidNote, match="is not signed"):
            Note.of_line({**note.line(key), "signature": key.sign(other).hex()}, trusted)


async def test_two_replicas_write_chains_of_their_own(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        return  # has one replica
    async with writing(store_url) as first, writing(store_url) as second:
        await first.audit(record(1))
        await second.audit(record(2))
        notes = [*await first.audit_notes(), *await second.audit_notes()]
    assert len({note.head.chain for note in notes}) == 2
    assert report(store_url, notes, now=NOW + 2 * HOUR) == Report(records=4)


async def test_a_record_is_there_when_its_act_is_and_only_then(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.secrets.add(SECRET, record(1))
        await store.issuances.add(issuance(1), record(2))
        await store.secrets.forget(SECRET.id, NOW, record(3))
        with pytest.raises(SecretForgotten):
            await store.issuances.add(issuance(2), record(4))
        broken: Issuance = replace(issuance(3), secret_id=None)  # type: ignore[arg-type]
        with pytest.raises(SecretForgotten):
            await store.issuances.add(broken, record(5))
        notes = await store.audit_notes()
    assert [one.get("number") for one in shown(store_url) if one["act"] == "tested"] == [1, 2, 3]
    assert report(store_url, notes, now=NOW + 2 * HOUR) == Report(records=4)


async def test_a_chain_goes_on_after_a_transaction_that_failed(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.secrets.add(SECRET, record(1))
        for _ in range(2):
            with pytest.raises(Exception, match="does not answer"):
                await store.secrets.add(SECRET, record(2))  # there is one of that name
        await store.audit(record(3))
        notes = await store.audit_notes()
    assert report(store_url, notes, now=NOW + 2 * HOUR) == Report(records=3)
    assert acts(store_url) == ["audit-begun", "tested", "tested"]


async def test_a_transaction_of_which_the_end_is_not_known_was_committed(store_url: str) -> None:
    """The connection broke between the commit and its answer."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        trail = store._access.trail
        with store._access.database.writing.begin() as connection:
            trail.append(connection, [record(2)])
        trail.failed()
        await store.audit(record(3))
        notes = await store.audit_notes()
    assert report(store_url, notes, now=NOW + 2 * HOUR) == Report(records=4)
    assert [one["number"] for one in shown(store_url) if one["act"] == "tested"] == [1, 2, 3]


@pytest.mark.parametrize("noted", [True, False])
async def test_attack_a_live_chain_is_cut_off_and_written_on(store_url: str, noted: bool) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        await store.audit(record(2))
        notes = await store.audit_notes() if noted else []
        tamper(store_url, "DELETE FROM audit_records WHERE number >= 2")
        await store.audit(record(3))
        notes += await store.audit_notes()
    (problem,) = report(store_url, notes).problems
    assert "records 2 to 3 are missing" in problem


async def test_attack_a_chain_is_cut_off_while_a_transaction_is_in_doubt(store_url: str) -> None:
    """The agent goes on after what it knows to be committed, so that the gap shows."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        await store.audit(record(2))
        trail = store._access.trail
        with store._access.database.writing.begin() as connection:
            trail.append(connection, [record(3)])
        trail.failed()
        tamper(store_url, "DELETE FROM audit_records WHERE number >= 3")
        await store.audit(record(4))
        notes = await store.audit_notes()
    assert [one["number"] for one in shown(store_url) if one["act"] == "tested"] == [1, 4]
    (problem,) = report(store_url, notes).problems
    assert "record 3 is missing" in problem


async def test_attack_somebody_else_writes_where_a_chain_goes_on(store_url: str) -> None:
    """One act fails, the next are in another chain, and what was committed before is noted all the same."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        tamper(
            store_url,
            "INSERT INTO audit_records SELECT chain, 3, at, record, hash FROM audit_records WHERE number = 2",
        )
        with pytest.raises(Unavailable):
            await store.audit(record(2))
        await store.audit(record(3))
        notes = await store.audit_notes()
    assert sorted(note.head.number for note in notes) == [2, 2]
    found = report(store_url, notes, now=NOW + 2 * HOUR)
    assert any("record 3 was changed" in problem for problem in found.problems)


def refusals(clock: Clock) -> Refusals:
    return Refusals(lambda: clock().timestamp(), clock)


def test_equal_refusals_become_one_record_with_their_number() -> None:
    many = refusals(Clock())
    for _ in range(1000):
        many.add("/v1/seek-blessings", Forbidden("TokenMissing", "no"), caller="a", address="10.0.0.1")
    (one,) = many.take()
    assert one.details["count"] == 1000
    assert one.caller == "a"
    assert many.take() == []


def test_attack_ever_new_refusals_fill_neither_disk_nor_memory_and_are_all_counted() -> None:
    clock = Clock()
    flooded = refusals(clock)
    records = []
    for _ in range(600):
        for number in range(100):
            flooded.add("/x", Forbidden("TokenMissing", "no"), address=f"{clock().timestamp()}.{number}")
        assert len(flooded._single) <= BURST
        records += flooded.take()
        clock.turn(seconds=1)
    records += flooded.take(all_of_them=True)
    assert sum(one.details["count"] for one in records) == 60_000
    assert len(records) <= BURST + 10 * 10 + 11  # a burst, ten a minute, and one a minute for the rest


def test_attack_a_flood_of_refusals_hides_neither_one_at_another_path_nor_a_tripwire() -> None:
    flooded = refusals(Clock())
    for number in range(10_000):
        flooded.add("/v1/seek-blessings", Forbidden("NotAReplica", "no"), address=str(number))
    flooded.add("/v1/revoke", Forbidden("NotAnAdministrator", "no"), caller="acme:somebody")
    flooded.add("/v1/seek-blessings", Forbidden("TokenMissing", "no"), caller="vanadium-bootstrap:ab")
    callers = [one.caller for one in flooded.take()]
    assert callers.count("") == BURST
    assert [one for one in callers if one] == ["acme:somebody", "vanadium-bootstrap:ab"]


def test_attack_refusals_of_one_application_hide_none_of_another_at_the_same_path() -> None:
    flooded = refusals(Clock())
    for number in range(10_000):
        caller = f"acme:prod:hostile:web:web-{number}"
        flooded.add("/v1/watch", Forbidden("Revoked", "no"), caller=caller)
    flooded.add("/v1/watch", Forbidden("Revoked", "no"), caller="acme:prod:shop:web:web-1")
    records = flooded.take(all_of_them=True)
    assert sum(one.details["count"] for one in records) == 10_001
    callers = [one.caller for one in records]
    assert "acme:prod:shop:web:web-1" in callers
    assert sum("hostile" in one for one in callers) == BURST + CREDENTIAL_BURST


CREDENTIAL = "vanadium-bootstrap:"
WEBHOOK = "vanadium-control-plane:webhook"
PATHS = [f"/v1/{number}" for number in range(16)]


def of_a_day(caller: str, reason: str = "NotAnAdministrator") -> list[Record]:
    """What is recorded of who is refused on every path, as often as there is something to write."""
    clock = Clock()
    flooded, records = refusals(clock), []
    for _ in range(24 * 600):
        clock.turn(seconds=6)
        for path in PATHS:
            flooded.add(path, Forbidden(reason, "no"), caller=caller)
        records += flooded.take()
    return [*records, *flooded.take(all_of_them=True)]


@pytest.mark.parametrize("caller", [CREDENTIAL + "ab", WEBHOOK])
def test_attack_one_certificate_does_not_fill_the_room_of_its_kind(caller: str) -> None:
    records = of_a_day(caller)
    assert sum(one.details["count"] for one in records) == 24 * 600 * len(PATHS)
    assert {one.caller for one in records} == {caller}
    assert len(records) * 150 < 50_000, "half a year of it leaves something of before"


def test_attack_a_drained_budget_does_not_hide_another_credential() -> None:
    flooded = refusals(Clock())
    for number in range(1000):
        flooded.add("/x", Forbidden("WrongPod", "no"), caller=CREDENTIAL + "ab", certificate=str(number))
    flooded.take()
    flooded.add("/x", Forbidden("TokenRefused", "no"), caller=CREDENTIAL + "bank", address="10.6.6.6")
    flooded.add("/x", Forbidden("NotAnAdministrator", "no"), caller=WEBHOOK, address="10.7.7.7")
    found = [(one.caller, one.details["address"]) for one in flooded.take()]
    assert found == [(CREDENTIAL + "bank", "10.6.6.6"), (WEBHOOK, "10.7.7.7")]


def test_attack_many_credentials_hide_neither_who_another_is_nor_the_webhook() -> None:
    clock = Clock()
    flooded = refusals(clock)
    for number in range(400):
        for _ in range(2):
            flooded.add("/x", Forbidden("WrongPod", "no"), caller=f"{CREDENTIAL}{number}")
    flooded.add("/x", Forbidden("TokenRefused", "no"), caller=CREDENTIAL + "bank", address="10.6.6.6")
    flooded.add("/x", Forbidden("NotAnAdministrator", "no"), caller=WEBHOOK, address="10.7.7.7")
    assert WEBHOOK in {one.caller for one in flooded.take()}
    clock.turn(seconds=3600)
    (counted,) = [one for one in flooded.take() if one.caller == CREDENTIAL + "bank"]
    assert counted.details["count"] == 1


def test_attack_what_the_webhook_is_refused_every_day_does_not_hide_what_a_thief_is() -> None:
    flooded = refusals(Clock())
    for number in range(1000):
        flooded.add("/x", Forbidden("ApplicationRevoked", "no"), caller=WEBHOOK, certificate=str(number))
    flooded.take()
    flooded.add("/v1/revoke", Forbidden("NotAnAdministrator", "no"), caller=WEBHOOK, address="10.7.7.7")
    (found,) = flooded.take()
    assert found.details["address"] == "10.7.7.7"


def test_attack_ever_new_credentials_do_not_fill_the_memory_and_are_all_counted() -> None:
    flooded = refusals(Clock())
    for number in range(10_000):
        flooded.add("/x", Forbidden("WrongPod", "no"), caller=f"{CREDENTIAL}{number}")
    assert len(flooded._single) <= MOST_BUDGETS + BURST
    assert len(flooded._of_callers) <= MOST_TOGETHER
    assert sum(one.details["count"] for one in flooded.take(all_of_them=True)) == 10_000


def test_attack_ever_new_paths_do_not_fill_the_memory_and_are_all_counted() -> None:
    flooded = refusals(Clock())
    for number in range(10_000):
        flooded.add(f"/{number}", TooManyRequests("TooManyRequests", "wait", limit="rate-address"))
        flooded.add(f"/{number}", Forbidden("NotAReplica", "no"))
    assert len(flooded._together) <= MOST_TOGETHER + 1
    assert len(flooded._single) <= MOST_BUDGETS + BURST
    records = flooded.take(all_of_them=True)
    assert sum(one.details["count"] for one in records) == 20_000


def test_who_is_told_to_wait_has_no_record_of_their_own() -> None:
    clock = Clock()
    waiting = refusals(clock)
    for number in range(50):
        waiting.add(
            "/x", TooManyRequests("TooManyRequests", "wait", limit="rate-address"), address=str(number)
        )
    assert waiting.take() == []
    clock.turn(seconds=60)
    (one,) = waiting.take()
    assert one.details == {"path": "/x", "reason": "TooManyRequests", "count": 50}


def test_what_could_not_be_written_is_counted_with_the_next() -> None:
    waiting = refusals(Clock())
    waiting.add("/x", Forbidden("TokenMissing", "no"))
    waiting.put_back(waiting.take())
    (one,) = waiting.take(all_of_them=True)
    assert one.details["count"] == 1


def test_a_long_text_of_a_caller_is_cut() -> None:
    assert len(Record("refused", NOW, details={"message": "x" * 10_000}).text()) < 500


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What it prints and ends with. In this process: to start it takes longer than all that it does."""
    argv = ["cluster-agent-audit", *arguments]
    out, err = StringIO(), StringIO()
    with (
        patch("sys.argv", argv),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        verify_audit()
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())


def test_the_command_verifies_what_the_program_wrote_and_its_log_noted(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        secret = agent.new_secret()
        with agent.credential_client(secret["credential"]) as client:
            assert client.post("/v1/seek-blessings", json={"csr": "x", "token": "y"}).status_code == 400
        with agent.control_plane_client() as client:
            body = {"id": secret["id"], "revoke": False}
            client.post("/v1/forget-secret", json=body).raise_for_status()
    place = ["--data-directory", str(tmp_path / "data")]
    key = next(json.loads(line)["fingerprint"] for line in agent.log().splitlines() if '"audit head"' in line)
    verified = command("verify", *place, "--heads", str(agent.log_file), "--key", key)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert " 3 noted heads: all as written" in verified.stdout
    records = [json.loads(line) for line in command("show", *place).stdout.splitlines()]
    said = [one["act"] for one in records if not one["act"].startswith("audit-")]
    acts = ["roots-changed", "jwt-keys-changed", "secret-made", "refused", "secret-forgotten"]
    assert said == acts, "in their order"
    logged = next(json.loads(line) for line in agent.log().splitlines() if '"refused"' in line)
    assert (logged["caller"], logged["address"]) == (f"vanadium-bootstrap:{secret['id']}", "127.0.0.1")
    (refused,) = [one for one in records if one["act"] == "refused"]
    assert refused["chain"].startswith("tripwires.")
    assert (refused["reason"], refused["path"]) == ("InvalidCsr", "/v1/seek-blessings")
    assert refused["caller"] == f"vanadium-bootstrap:{secret['id']}"
    other = fingerprint(Principal.create().public_key)
    found = command("verify", *place, "--heads", str(agent.log_file), "--key", other)
    assert found.returncode == 1
    assert "which is not trusted" in found.stdout
    url = f"sqlite:///{tmp_path / 'data' / 'cluster-agent.sqlite3'}"
    tamper(url, "DELETE FROM audit_records WHERE number = 2 AND chain LIKE 'tripwires.%'")
    found = command("verify", *place, "--heads", str(agent.log_file))
    assert found.returncode == 1
    assert "WRONG: chain tripwires" in found.stdout


async def test_the_command_tells_what_no_note_proves_from_what_was_changed(tmp_path: Path) -> None:
    notes = await written(f"sqlite:///{tmp_path / 'cluster-agent.sqlite3'}")
    key, log = Principal.create(), tmp_path / "log"
    place = ["--data-directory", str(tmp_path), "--heads", str(log)]
    log.write_text("")
    found = command("verify", *place)
    assert found.returncode == 3
    assert "UNPROVED: chain administration" in found.stdout
    lines = (json.dumps({"event": "audit head", **note.line(key)}) for note in notes)
    log.write_text("\n".join([*lines, '{"event": "started"}']))
    assert command("verify", *place).returncode == 0


async def test_the_command_searches_by_time_name_and_act(tmp_path: Path) -> None:
    async with writing(f"sqlite:///{tmp_path / 'cluster-agent.sqlite3'}") as store:
        for number in range(4):
            await store.audit(record(number, NOW + number * timedelta(days=1)))
        await store.audit(Record("registered", NOW, "acme:chief", {"name": "acme:prod:shop:web"}))

    def found(*arguments: str) -> list[Any]:
        lines = command("show", "--data-directory", str(tmp_path), *arguments).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        return [one.get("number") if one["act"] == "tested" else one["act"] for one in records]

    def numbers(*arguments: str) -> int:
        return len(found("--act", "tested", *arguments))

    assert numbers() == 4
    assert numbers("--since", "2026-11-26") == 2
    assert numbers("--since", "2026-11-24T12:00:00Z", "--until", "2026-11-26T12:00:00Z") == 2
    assert found("--name", "acme:prod:shop") == ["registered"]
    assert found("--name", "acme:chief") == ["registered"]
    assert found("--name", "acme:prod:shop:we") == []
    assert found("--act", "registered", "--since", "2026-11-25") == []


def test_the_command_says_where_it_looked_in_vain(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "cluster_agent.verify_audit", "verify"]
    arguments = ["--data-directory", str(tmp_path), "--heads", "log"]
    found = subprocess.run([*program, *arguments], capture_output=True, text=True)
    assert found.returncode == 2
    assert "--data-directory" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    "attack",
    [
        ("update audit_records set hash = 'another' where number = 3",),
        ("delete from audit_records where number = 3",),
        ("delete from audit_records", "delete from audit_chains"),
    ],
)
async def test_an_audit_that_loses_what_was_last_written_is_counted_by_the_agent_that_wrote_it(
    store_url: str, attack: tuple[str, ...]
) -> None:
    async with writing(store_url) as store:
        for number in range(2):
            await store.audit(record(number))
        await store.check_audit()
        assert store.audit_chains_broken == 0
        tamper(store_url, *attack)
        with capture_logs() as logged:
            for _ in range(2):
                await store.check_audit()
        assert store.audit_chains_broken == 1
        assert [one["event"] for one in logged] == ["the audit is not as it was written"]
        # What follows is in a chain of its own, which is whole.
        await store.audit(record(9))
        await store.check_audit()
        assert store.audit_chains_broken == 1


async def test_what_the_agent_itself_removed_is_not_taken_for_a_loss(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.audit(record(1))
        assert await store.prune_audit(Retention(administration_days=1), NOW + timedelta(days=2))
        await store.check_audit()
        assert store.audit_chains_broken == 0
