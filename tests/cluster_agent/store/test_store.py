"""The store on both databases: its schema, also as version 0.1.0 wrote it, whose it is, and who leads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from structlog.testing import capture_logs

from blessings import Name
from cluster_agent.errors import KeyReused, SecretForgotten, StoreError, TooManyRequests, Unavailable
from cluster_agent.model import Application, Issuance, Secret
from cluster_agent.store import Store, open_store
from cluster_agent.store.access import available
from cluster_agent.store.batches import Batches, pause_seconds
from cluster_agent.store.database import Database, connect, database_url
from cluster_agent.store.issuances import Asked
from cluster_agent.store.migration import migrate
from cluster_agent.store.tables import METADATA
from service.errors import SettingsError
from tests.postgresql import Postgresql, database_name
from tests.waiting import until

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECRET = Secret(
    id="secret-1",
    application=Application("shop", "web"),
    certificate_fingerprint="credential-1",
    created_at=NOW,
    not_after=NOW + timedelta(days=90),
    forgotten=False,
)
# The schema of the store of version 0.1.0, which had no migrations.
SCHEMA_OF_0_1_0 = """
CREATE TABLE secrets (
  id TEXT PRIMARY KEY,
  namespace TEXT NOT NULL,
  service_account TEXT NOT NULL,
  certificate_fingerprint TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  forgotten_at INTEGER
) STRICT;
CREATE TABLE issuances (
  certificate_fingerprint TEXT PRIMARY KEY,
  secret_id TEXT NOT NULL REFERENCES secrets (id),
  pod_name TEXT NOT NULL,
  pod_uid TEXT NOT NULL,
  public_key_fingerprint TEXT NOT NULL UNIQUE,
  not_after INTEGER NOT NULL
) STRICT;
CREATE INDEX issuances_not_after ON issuances (not_after);
PRAGMA user_version = 1;
"""


def issuance(number: int, **changes: object) -> Issuance:
    one = Issuance(
        certificate_fingerprint=f"certificate-{number}",
        secret_id=SECRET.id,
        pod_name=f"web-{number}",
        pod_uid=f"uid-{number}",
        public_key_fingerprint=f"key-{number}",
        not_after=NOW + timedelta(hours=1),
    )
    return replace(one, **changes)  # type: ignore[arg-type]  # the fields of an Issuance


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


async def test_what_was_added_is_there_after_opening_again(store_url: str) -> None:
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        await store.issuances.add(issuance(1))
    async with opened(store_url) as store:
        assert await store.secrets.of_certificate("credential-1") == SECRET
        assert await store.issuances.with_secret("certificate-1") == (issuance(1), SECRET)
        assert await store.secrets.live(NOW) == [SECRET]
        assert await store.secrets.of_certificate("other") is None
        assert await store.issuances.with_secret("other") is None


async def test_a_batch_tells_each_of_its_calls_its_own_outcome(store_url: str) -> None:
    other = replace(SECRET, id="secret-2", certificate_fingerprint="credential-2")
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        await store.secrets.add(other)
        await store.secrets.forget(other.id, NOW)
        await store.issuances.add(issuance(0))
        outcomes = await asyncio.gather(
            store.issuances.add(issuance(1)),
            store.issuances.add(issuance(2, public_key_fingerprint="key-1")),
            store.issuances.add(issuance(3, public_key_fingerprint="key-0")),
            store.issuances.add(issuance(4, secret_id=other.id)),
            store.issuances.add(issuance(5, secret_id="unknown")),
            store.issuances.add(issuance(6)),
            return_exceptions=True,
        )
        kinds = [None, KeyReused, KeyReused, SecretForgotten, SecretForgotten, None]
        assert [None if one is None else type(one) for one in outcomes] == kinds
        known = [await store.issuances.with_secret(f"certificate-{number}") for number in range(7)]
        assert [one is not None for one in known] == [True, True, False, False, False, False, True]


async def test_many_calls_at_once_all_end_and_are_all_recorded(store_url: str) -> None:
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        await asyncio.gather(*(store.issuances.add(issuance(number)) for number in range(400)))
        known = await asyncio.gather(
            *(store.issuances.with_secret(f"certificate-{number}") for number in range(400))
        )
        assert [one and one[0] for one in known] == [issuance(number) for number in range(400)]


async def test_expired_issuances_are_dropped_and_no_others(store_url: str) -> None:
    async with opened(store_url) as store:
        await store.secrets.add(SECRET)
        await store.issuances.add(issuance(1))
        await store.issuances.add(issuance(2, not_after=NOW + timedelta(hours=2)))
        assert await store.issuances.drop_expired(NOW + timedelta(hours=1, seconds=1)) == 1
        assert await store.issuances.with_secret("certificate-1") is None
        assert await store.issuances.with_secret("certificate-2") is not None


async def test_a_secret_is_read_again_after_a_second_and_after_each_write(store_url: str) -> None:
    seconds = 100.0
    async with AsyncExitStack() as stack:
        store = open_store(store_url, lambda: seconds)
        stack.push_async_callback(store.close)
        other = await stack.enter_async_context(opened(store_url))
        await store.secrets.add(SECRET)

        async def forgotten() -> bool | None:
            secret = await store.secrets.of_certificate(SECRET.certificate_fingerprint)
            return None if secret is None else secret.forgotten

        assert not await forgotten()
        await other.secrets.forget(SECRET.id, NOW)
        assert not await forgotten(), "within the second"
        with pytest.raises(SecretForgotten):
            await store.issuances.add(issuance(1))
        seconds += 1
        assert await forgotten()


async def test_a_secret_forgotten_here_is_known_as_such_at_once(store_url: str) -> None:
    async with AsyncExitStack() as stack:
        store = open_store(store_url, lambda: 100.0)
        stack.push_async_callback(store.close)
        await store.secrets.add(SECRET)
        first = await store.secrets.of_certificate(SECRET.certificate_fingerprint)
        await store.secrets.forget(SECRET.id, NOW)
        second = await store.secrets.of_certificate(SECRET.certificate_fingerprint)
        assert [one and one.forgotten for one in (first, second)] == [False, True]


async def test_a_queue_that_is_full_refuses_and_those_in_it_are_served() -> None:
    begun, release = threading.Event(), threading.Event()

    def work(items: object) -> list[str]:
        begun.set()
        release.wait(60)
        return ["done"] * len(list(items))  # type: ignore[call-overload]  # a sequence

    with ThreadPoolExecutor(1) as executor:
        batches: Batches[int, str] = Batches(executor, work, most_waiting=2)
        first = asyncio.create_task(batches.submit(0))
        # Then the first is out of the queue.
        assert await asyncio.to_thread(begun.wait, 60)
        waiting = [asyncio.create_task(batches.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests) as caught:
            await batches.submit(3)
        assert caught.value.limit == "store-queue"
        release.set()
        assert await asyncio.gather(first, *waiting) == ["done"] * 3


async def test_attack_a_queue_that_one_tenant_fills_has_room_and_a_turn_for_another() -> None:
    begun, release = threading.Event(), threading.Event()
    order: list[int] = []

    def work(items: Sequence[int]) -> Sequence[int]:
        begun.set()
        release.wait(60)
        order.extend(items)
        return items

    with ThreadPoolExecutor(1) as executor:
        batches: Batches[int, int] = Batches(executor, work, most_waiting=4)
        first = asyncio.create_task(batches.submit(0, ("hostile",)))
        # Then the first is out of the queue.
        assert await asyncio.to_thread(begun.wait, 60)
        flood = [asyncio.create_task(batches.submit(number, ("hostile",))) for number in range(1, 5)]
        await asyncio.sleep(0)
        other = asyncio.create_task(batches.submit(9, ("other",)))
        await asyncio.sleep(0)
        release.set()
        outcomes = await asyncio.gather(first, other, *flood, return_exceptions=True)
    assert outcomes[:5] == [0, 9, 1, 2, 3]
    assert isinstance(outcomes[5], TooManyRequests)
    assert order == [0, 1, 9, 2, 3]


async def test_calls_wait_for_others_while_more_than_one_come_at_a_time_and_not_else() -> None:
    taken: list[list[int]] = []
    pauses: list[int] = []
    more: list[asyncio.Task[int]] = []

    def work(items: Sequence[int]) -> Sequence[int]:
        taken.append(list(items))
        return items

    with ThreadPoolExecutor(1) as executor:

        async def pause(last: int) -> None:
            pauses.append(last)
            more.append(asyncio.create_task(batches.submit(4)))
            await asyncio.sleep(0)

        batches: Batches[int, int] = Batches(executor, work, most_waiting=10, pause=pause)
        await batches.submit(0)
        assert pauses == []
        await asyncio.gather(batches.submit(1), batches.submit(2))
        assert pauses == []
        await batches.submit(3)
        assert pauses == [2]
        assert await more[0] == 4
    assert taken == [[0], [1, 2], [3, 4]]


def test_the_more_calls_come_at_a_time_the_longer_they_wait_for_others_but_never_long() -> None:
    assert [pause_seconds(last) for last in (2, 6, 10, 128)] == [0.01, 0.03, 0.05, 0.05]


async def test_a_failed_batch_fails_each_of_its_calls_and_the_next_is_tried() -> None:
    answers: list[Exception | None] = [Unavailable("StoreUnavailable", "gone"), None]

    def work(items: object) -> list[str]:
        if (error := answers.pop(0)) is not None:
            raise error
        return ["done"]

    with ThreadPoolExecutor(1) as executor:
        batches: Batches[int, str] = Batches(executor, work, most_waiting=10)
        failed = await asyncio.gather(batches.submit(1), batches.submit(2), return_exceptions=True)
        assert [type(one) for one in failed] == [Unavailable, Unavailable]
        assert await batches.submit(3) == "done"


async def test_a_store_of_version_0_1_0_keeps_its_secrets_and_issuances(tmp_path: Path) -> None:
    path = tmp_path / "cluster-agent.sqlite3"
    seconds = int(NOW.timestamp())
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_OF_0_1_0)
        connection.execute(
            "INSERT INTO secrets VALUES ('secret-1', 'shop', 'web', 'credential-1', ?, ?, NULL)",
            (seconds, seconds + 90 * 86400),
        )
        connection.execute(
            "INSERT INTO secrets VALUES ('secret-0', 'shop', 'web', 'credential-0', ?, ?, ?)",
            (seconds, seconds + 90 * 86400, seconds),
        )
        connection.execute(
            "INSERT INTO issuances VALUES ('certificate-1', 'secret-1', 'web-1', 'uid-1', 'key-1', ?)",
            (seconds + 3600,),
        )
    connection.close()
    async with opened(f"sqlite:///{path}") as store:
        assert await store.secrets.live(NOW) == [SECRET]
        forgotten = await store.secrets.of_certificate("credential-0")
        assert forgotten is not None
        assert forgotten.forgotten
        assert await store.issuances.with_secret("certificate-1") == (issuance(1), SECRET)
        with pytest.raises(KeyReused):
            await store.issuances.add(issuance(2, public_key_fingerprint="key-1"))
        await store.issuances.add(issuance(3))
    async with opened(f"sqlite:///{path}") as store:
        assert await store.issuances.with_secret("certificate-3") is not None
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    assert version > 1, "version 0.1.0 would write to it"
    database = connect(database_url(f"sqlite:///{path}"))
    assert differences(database) == []
    database.dispose()


def differences(database: Database) -> list[object]:
    """Between the tables in the database and those that the program uses."""
    with database.reading.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [one for one in compare_metadata(context, METADATA) if "alembic_version" not in str(one)]


def test_migrations_make_the_tables_that_the_program_uses(store_url: str) -> None:
    database = connect(database_url(store_url))
    migrate(database)
    assert differences(database) == []
    database.dispose()


def test_replicas_that_start_together_migrate_once(store_url: str) -> None:
    if store_url.startswith("sqlite"):
        # The file itself must be there: switching to WAL is not something two can do at once.
        connect(database_url(store_url)).reading.connect().close()
    errors: list[Exception] = []

    def start() -> None:
        database = connect(database_url(store_url))
        try:
            migrate(database)
        except StoreError as error:
            errors.append(error)
        finally:
            database.dispose()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_store_of_a_newer_program_is_left_alone(store_url: str) -> None:
    database = connect(database_url(store_url))
    migrate(database)
    with database.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="schema revision 9999, which this program does not know"):
        migrate(database)
    database.dispose()


@pytest.mark.parametrize("revision", ["0001", "0009"])
def test_a_store_that_no_release_wrote_is_refused_and_the_refusal_says_what_to_do(
    store_url: str, revision: str
) -> None:
    database = connect(database_url(store_url))
    migrate(database)
    with database.writing.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :old"), {"old": revision})
    with pytest.raises(StoreError, match=f"{revision}, which no release had.*start with an empty database"):
        migrate(database)
    database.dispose()


def test_a_database_of_somebody_else_is_left_alone(store_url: str) -> None:
    database = connect(database_url(store_url))
    with database.writing.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE secrets (what TEXT)")
    with pytest.raises(StoreError, match="none of ours"):
        migrate(database)
    database.dispose()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite3").write_text("no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"cannot use .*x\.sqlite3 as the store"):
        open_store(f"sqlite:///{tmp_path / 'x.sqlite3'}")


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="as the store") as caught:
        open_store(f"postgresql://agent:hidden@/vanadium?host={tmp_path}")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "oracle://agent:hidden@host/db"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="expected postgresql://") as caught:
        open_store(url)
    assert "hidden" not in str(caught.value)


async def test_replicas_with_other_keys_do_not_share_a_database(store_url: str) -> None:
    keys, prefix = {"root": "aa", "issuing": "bb", "bootstrap": "cc"}, Name.parse("acme:prod")
    async with opened(store_url) as store:
        await store.claim_authority(keys, prefix)
        await store.claim_authority(keys, prefix)
        with pytest.raises(StoreError, match="whose issuing key is bb, ours is dd"):
            await store.claim_authority({**keys, "issuing": "dd"}, prefix)


async def test_one_of_several_replicas_leads_and_another_follows_it(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    async with AsyncExitStack() as replicas:
        first = open_store(url)
        others = [await replicas.enter_async_context(opened(url)) for _ in range(2)]
        assert [await store.lead() for store in (first, *others)] == [True, False, False]
        assert await first.lead(), "a leader stays one"
        await first.close()
        assert [await store.lead() for store in others] == [True, False]


async def test_a_leader_whose_session_was_ended_notices(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    async with opened(url) as first, opened(url) as second:
        assert await first.lead()
        postgresql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database()",
            database_name(url),
        )
        # The server asks the session's process to end, and does not wait until it has.
        await until("the lead", second.lead)
        assert not await first.lead()


async def test_the_single_replica_of_sqlite_leads(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite3'}") as store:
        assert await store.lead()


async def test_commits_wait_for_the_disk_even_where_the_server_says_otherwise(
    postgresql: Postgresql,
) -> None:
    url = postgresql.new_database()
    name = database_name(url)
    postgresql.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with opened(url) as store:
        with store._access.database.writing.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


async def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    async with opened(f"sqlite:///{tmp_path / 'store.sqlite3'}") as store:
        with store._access.database.writing.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


async def test_calls_are_refused_while_the_database_is_away_and_served_when_it_is_back(
    postgresql: Postgresql,
) -> None:
    url = postgresql.new_database()
    name = database_name(url)
    async with opened(url) as store:
        await store.secrets.add(SECRET)
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgresql.end_connections(name)
        with pytest.raises(Unavailable, match="does not answer") as caught:
            await store.issuances.add(issuance(1))
        assert "INSERT" not in str(caught.value)
        with pytest.raises(Unavailable):
            await store.secrets.of_certificate("credential-1")
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await store.issuances.add(issuance(1))


async def test_a_secret_that_another_replica_forgets_issues_nothing_more(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    async with opened(url) as first, opened(url) as second:
        await first.secrets.add(SECRET)
        await second.issuances.add(issuance(1))
        await first.secrets.forget(SECRET.id, NOW)
        with pytest.raises(SecretForgotten):
            await second.issuances.add(issuance(2))


async def test_forgetting_waits_for_an_issuance_that_is_being_recorded(postgresql: Postgresql) -> None:
    """Else an issuance could be recorded after the answer that nothing more is issued."""
    url = postgresql.new_database()
    async with opened(url) as first, opened(url) as second:
        await first.secrets.add(SECRET)
        with second._access.database.writing.begin() as connection:
            second.issuances.record(connection, [Asked(issuance(1))])
            forgetting = asyncio.create_task(first.secrets.forget(SECRET.id, NOW))
            await postgresql.something_waits_for_a_lock(url)
            assert not forgetting.done()
        assert await forgetting
        assert await second.issuances.with_secret("certificate-1") is not None


async def test_two_replicas_asked_for_the_same_keys_certify_each_once(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    async with opened(url) as first, opened(url) as second:
        await first.secrets.add(SECRET)
        numbers = range(200)
        ours = [first.issuances.add(issuance(number)) for number in numbers]
        theirs = [
            second.issuances.add(issuance(1000 + number, public_key_fingerprint=f"key-{number}"))
            for number in reversed(numbers)
        ]
        outcomes = await asyncio.gather(*ours, *theirs, return_exceptions=True)
        assert {type(one) for one in outcomes} == {type(None), KeyReused}
        assert sum(one is None for one in outcomes) == len(numbers)


def test_the_log_states_why_the_store_does_not_answer(tmp_path: Path) -> None:
    """Full, locked and read-only were all OperationalError."""
    file = tmp_path / "store.sqlite3"
    sqlite3.connect(file).close()
    engine = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")

    def write() -> None:
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE secret_of_a_client (x INTEGER)"))

    with capture_logs() as logs, pytest.raises(Unavailable) as caught:
        available(write)
    engine.dispose()
    (logged,) = logs
    assert logged["error"] == "OperationalError: attempt to write a readonly database"
    assert "secret_of_a_client" not in f"{logged} {caught.value}"
