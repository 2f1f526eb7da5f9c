"""The audit on both databases: every act leaves a record, and no record can be changed, removed or moved
without being found. Whoever changes them here writes to the database whatever they like, and has no key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from blessings import Principal, fingerprint
from cluster_agent.audit.kinds import Kind, kind_of_chain
from cluster_agent.audit.records import Head, Record, Signed
from cluster_agent.audit.refusals import BURST, MOST_BUDGETS, MOST_TOGETHER, Refusals
from cluster_agent.audit.verification import Report, verify
from cluster_agent.errors import Forbidden, SecretForgotten, TooManyRequests
from cluster_agent.model import Issuance
from cluster_agent.store import Store, open_store
from cluster_agent.store.audit_reading import reading_audit
from cluster_agent.store.database import database_url
from tests.clock import Clock
from tests.cluster_agent.store.test_store import SECRET, issuance
from tests.cluster_agents import running_cluster_agent

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = Principal.create()


def record(number: int, at: datetime = NOW) -> Record:
    """Of an act that is none of the frequent ones, so it is in the chain of administration."""
    return Record("tested", at, "acme:prod:tester", {"number": number})


@asynccontextmanager
async def writing(url: str, key: Principal = KEY) -> AsyncIterator[Store]:
    store = open_store(url)
    store.audit_with(lambda: key)
    try:
        yield store
    finally:
        await store.close()


async def written(url: str, count: int = 5) -> None:
    """One chain of `audit-begun` and `count` records."""
    async with writing(url) as store:
        for number in range(count):
            await store.audit(record(number))


def report(url: str, *anchors: tuple[Head, Signed], key: Principal = KEY) -> Report:
    with reading_audit(url) as audit:
        trusted = frozenset({fingerprint(key.public_key)})
        return verify(audit.chains(), audit.records_of, audit.hash_at, audit.names(), anchors, trusted)


def acts(url: str) -> list[str]:
    return [one["act"] for one in shown(url)]


def shown(url: str) -> list[dict[str, Any]]:
    """Every record, with the kind of its chain."""
    with reading_audit(url) as audit:
        return [
            {"kind": kind_of_chain(chain.head.chain), **json.loads(one.text)}
            for chain in audit.chains()
            for one in audit.records_of(chain.head.chain)
        ]


def tamper(url: str, *statements: str) -> None:
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0, f"changed nothing: {statement}"
    engine.dispose()


async def test_what_was_written_verifies(store_url: str) -> None:
    await written(store_url)
    found = report(store_url)
    assert found.problems == []
    assert found.records == 6
    assert [head.number for head in found.heads] == [6]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            ["UPDATE audit_records SET record = replace(record, 'tester', 'nobody') WHERE number = 3"],
            "3 was changed",
        ),
        (["UPDATE audit_records SET at = 7 WHERE number = 3"], "3 was changed"),
        (["UPDATE audit_records SET hash = 'ab' WHERE number = 3"], "3 was changed"),
        (["DELETE FROM audit_records WHERE number = 3"], "record 3 is missing"),
        (["DELETE FROM audit_records WHERE number = 1"], "record 1 is missing"),
        (["DELETE FROM audit_records WHERE number = 6"], "record 6 is missing at its end"),
        (["DELETE FROM audit_records WHERE number >= 4"], "records 4 to 6 are missing at its end"),
        (
            [
                "UPDATE audit_records SET number = 99 WHERE number = 3",
                "UPDATE audit_records SET number = 3 WHERE number = 4",
                "UPDATE audit_records SET number = 4 WHERE number = 99",
            ],
            "3 was changed",
        ),
        (
            [
                "INSERT INTO audit_records "
                "SELECT chain, 7, at, record, hash FROM audit_records WHERE number = 6"
            ],
            "record 7 comes after its head",
        ),
        (
            ["DELETE FROM audit_records WHERE number = 6", "UPDATE audit_chains SET number = 5"],
            "its head (number 5) is not signed",
        ),
        (
            [
                "DELETE FROM audit_records WHERE number <= 2",
                "UPDATE audit_chains SET base_number = 2, base_hash = (SELECT 'ab'), base_key = key, "
                "base_signature = signature",
            ],
            "its beginning (number 2) is not signed",
        ),
        (["DELETE FROM audit_chains"], "there are records, and no head"),
        (["UPDATE audit_chains SET signature = 'zz'"], "is not signed"),
        (["UPDATE audit_chains SET key = ''"], "is not signed"),
    ],
)
async def test_attack_every_change_is_found(store_url: str, statements: list[str], said: str) -> None:
    await written(store_url)
    tamper(store_url, *statements)
    assert any(said in problem for problem in report(store_url).problems), report(store_url).problems


async def test_attack_a_whole_chain_made_anew_with_another_key(store_url: str) -> None:
    other = Principal.create()
    async with writing(store_url, other) as store:
        await store.audit(record(1))
    assert report(store_url, key=other).problems == []
    (problem,) = report(store_url).problems
    assert "which is not trusted" in problem


async def test_attack_a_signature_of_the_key_for_something_else(store_url: str) -> None:
    await written(store_url)
    with reading_audit(store_url) as audit:
        (chain,) = audit.chains()
    asked = KEY.sign(f"{chain.head.chain}\n{chain.head.number}\n{chain.head.hash}".encode()).hex()
    tamper(store_url, f"UPDATE audit_chains SET signature = '{asked}'")  # noqa: S608
    assert "is not signed" in report(store_url).problems[0]


async def test_attack_a_chain_that_another_one_vouched_for_is_removed_whole(store_url: str) -> None:
    await written(store_url)
    async with writing(store_url) as second:
        await second.vouch(NOW)
    with reading_audit(store_url) as audit:
        first = next(one.head for one in audit.chains() if one.head.number == 6)
    assert report(store_url).problems == []
    tamper(
        store_url,
        f"DELETE FROM audit_records WHERE chain = '{first.chain}'",  # noqa: S608
        f"DELETE FROM audit_chains WHERE chain = '{first.chain}'",  # noqa: S608
    )
    (problem,) = report(store_url).problems
    assert f"chain {first.chain}: it is gone" in problem


async def test_attack_an_older_state_is_put_back(store_url: str) -> None:
    """Its signature was good once; a head that the log noted meanwhile gives it away."""
    async with writing(store_url) as store:
        await store.audit(record(1))
        with reading_audit(store_url) as audit:
            (older,) = audit.chains()
        await store.audit(record(2))
        await store.vouch(NOW)
        noted = await store.vouch(NOW)
    assert {kind_of_chain(head.chain) for head, _ in noted} == {Kind.ADMINISTRATION, Kind.UPKEEP}
    assert report(store_url, *noted).problems == []
    tamper(
        store_url,
        "DELETE FROM audit_records WHERE number = 3",
        "DELETE FROM audit_records WHERE chain LIKE 'upkeep.%'",
        "DELETE FROM audit_chains WHERE chain LIKE 'upkeep.%'",
        f"UPDATE audit_chains SET number = 2, hash = '{older.head.hash}', "  # noqa: S608
        f"signature = '{older.signed.signature}'",
    )
    assert report(store_url).problems == []  # by the database alone it cannot be told
    problems = report(store_url, *noted).problems
    assert any("it ends with record 2, the notes saw 3" in problem for problem in problems)
    assert any("upkeep" in problem and "it is gone" in problem for problem in problems)


async def test_two_replicas_vouch_for_each_other_once(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        return  # has one replica
    async with writing(store_url) as first, writing(store_url) as second:
        await first.audit(record(1))
        await second.audit(record(2))
        await first.vouch(NOW)
        await second.vouch(NOW)
        assert len([act for act in acts(store_url) if act == "audit-witnessed"]) == 2
        await first.vouch(NOW)
        assert len([act for act in acts(store_url) if act == "audit-witnessed"]) == 3, (
            "of what the second said"
        )
    assert report(store_url).problems == []


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
    assert [one.get("number") for one in shown(store_url) if one["act"] == "tested"] == [1, 2, 3]
    assert report(store_url).problems == []


async def test_a_chain_goes_on_after_a_transaction_that_failed(store_url: str) -> None:
    async with writing(store_url) as store:
        await store.secrets.add(SECRET, record(1))
        for _ in range(2):
            with pytest.raises(Exception, match="does not answer"):
                await store.secrets.add(SECRET, record(2))  # there is one of that name
        await store.audit(record(3))
    assert report(store_url).problems == []
    assert acts(store_url) == ["audit-begun", "tested", "tested"]


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
    return subprocess.run(
        [sys.executable, "-m", "cluster_agent.audit", *arguments], capture_output=True, text=True, timeout=60
    )


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
    assert " 4 heads, 4 noted heads: all as written" in verified.stdout
    records = [json.loads(line) for line in command("show", *place).stdout.splitlines()]
    said = [one["act"] for one in records if not one["act"].startswith("audit-")]
    assert said == ["roots-changed", "secret-made", "refused", "secret-forgotten"], "in their order"
    logged = next(json.loads(line) for line in agent.log().splitlines() if '"refused"' in line)
    assert (logged["caller"], logged["address"]) == (f"vanadium-bootstrap:{secret['id']}", "127.0.0.1")
    (refused,) = [one for one in records if one["act"] == "refused"]
    assert refused["chain"].startswith("tripwires.")
    assert (refused["reason"], refused["path"]) == ("InvalidCsr", "/v1/seek-blessings")
    assert refused["caller"] == f"vanadium-bootstrap:{secret['id']}"
    tamper(
        f"sqlite:///{tmp_path / 'data' / 'cluster-agent.sqlite3'}",
        "DELETE FROM audit_records WHERE number = 2 AND chain LIKE 'tripwires.%'",
    )
    found = command("verify", *place)
    assert found.returncode == 1
    assert "WRONG: chain" in found.stdout


def test_the_command_says_where_it_looked_in_vain(tmp_path: Path) -> None:
    found = command("verify", "--data-directory", str(tmp_path))
    assert found.returncode == 2
    assert "--data-directory" in found.stderr
    assert "Traceback" not in found.stderr
