"""Revocation on both stores: what is revoked is on the lists, and issued nothing more."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

import blessings.revocation
from blessings import (
    Blessing,
    Policy,
    Principal,
    Reason,
    RevocationList,
    RevocationLists,
    VerificationError,
    WithoutList,
    verify_blessing,
)
from cluster_agent.audit import Record
from cluster_agent.errors import (
    Forbidden,
    NotFound,
    PodBusy,
    ReplicaRevoked,
    TooManyCertificates,
    TooManyRequests,
)
from cluster_agent.issuing.certification import IssuedBlessing
from cluster_agent.model import Application, Issuance, Secret
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.secrets.bootstrap_secrets import IssuedSecret
from cluster_agent.store import (
    MOST_LIVE_OF_POD,
    MOST_OF_FULL_LIFE,
    Store,
    open_store,
)
from cluster_agent.store.issuances import Asked
from cluster_agent.store.tables import revocation_state, revoked_certificates
from tests.clock import Clock
from tests.cluster_agents import AgentUnderClock, RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql

WEB = Application("shop", "web")
LIFETIME = HOUR = timedelta(hours=1)


class Revoking:
    """An agent under a clock with its lists."""

    def __init__(self, directory: Path, store_url: str, ttl: timedelta = HOUR) -> None:
        self.under = AgentUnderClock(directory, store_url, ttl=ttl)
        self.clock = self.under.clock
        self.lists = CurrentLists(self.under.store, self.under.room, LIFETIME, self.clock)
        self.revoker = self.under.make_revoker(self.lists)
        self.administrator = self.under.administrator()

    async def secret(self, application: Application = WEB) -> IssuedSecret:
        return await self.under.secrets.make(self.administrator, application)

    async def issue(self, blessing: Blessing, pod: str = "web-1", **claims: str) -> IssuedBlessing:
        token = self.under.token(pod, lifetime=timedelta(days=30), **claims)
        caller = self.under.caller(blessing)
        return await self.under.issuer.seek_blessings(caller, csr_of(Principal.create()), token, None)

    def judged(self, blessing: Blessing) -> Reason | None:
        """By a peer that has the current lists, and insists on them."""
        policy = Policy(revocation=self.all_lists(), without_list=WithoutList.REFUSE)
        roots = self.under.room.identity_roots
        try:
            verify_blessing(blessing, roots, now=self.clock(), policy=policy)
        except VerificationError as error:
            return error.reason
        return None

    def index(self) -> dict[str, int]:
        """The number of each application's list, by the index that every client may read."""
        document = json.loads(self.lists.whole_index())
        assert document["version"] == self.lists.version
        return {one["issuer"]: one["number"] for one in document["lists"]}

    def all_lists(self) -> RevocationLists:
        return RevocationLists(tuple(one for name in self.index() for one in self.lists.of(name)))


@pytest.fixture
async def revoking(tmp_path: Path, store_url: str) -> AsyncIterator[Revoking]:
    made = Revoking(tmp_path, store_url)
    yield made
    await made.under.store.close()


@pytest.mark.parametrize("by", ["pod", "serial", "name"])
async def test_a_revoked_replica_is_listed_and_issued_nothing_more(revoking: Revoking, by: str) -> None:
    secret = await revoking.secret()
    replica = await revoking.issue(secret.credential.blessing, "web-1")
    other = await revoking.issue(secret.credential.blessing, "web-2")
    await revoking.lists.refresh()
    assert revoking.judged(replica.blessing) is revoking.judged(other.blessing) is None
    administrator = revoking.administrator
    if by == "pod":
        done = await revoking.revoker.revoke_pod(administrator, "uid-of-web-1")
    elif by == "serial":
        serial = f"{replica.blessing.leaf.serial_number:X}"
        done = await revoking.revoker.revoke_serial(administrator, serial)
    else:
        done = await revoking.revoker.revoke_name(administrator, replica.name)
    assert done.certificates == 1
    assert revoking.judged(replica.blessing) is Reason.REVOKED
    assert revoking.judged(other.blessing) is None
    for blessing in (replica.blessing, secret.credential.blessing):
        with pytest.raises(Forbidden) as caught:
            await revoking.issue(blessing, "web-1")
        assert caught.value.reason == "Revoked"
    with pytest.raises(Forbidden):
        await revoking.under.issuer.replica(revoking.under.caller(replica.blessing))
    await revoking.issue(other.blessing, "web-2")


async def test_every_certificate_of_a_replica_is_revoked_and_a_later_pod_of_its_name_is_another(
    revoking: Revoking,
) -> None:
    secret = await revoking.secret()
    first = await revoking.issue(secret.credential.blessing)
    revoking.clock.turn(minutes=30)
    second = await revoking.issue(first.blessing)
    done = await revoking.revoker.revoke_name(revoking.administrator, second.name)
    assert done.certificates == 2
    assert revoking.judged(first.blessing) is revoking.judged(second.blessing) is Reason.REVOKED
    again = await revoking.issue(secret.credential.blessing, pod_uid="another-uid")
    assert again.name == first.name
    assert revoking.judged(again.blessing) is None


async def test_forgetting_a_secret_revokes_what_was_issued_under_it(revoking: Revoking) -> None:
    secret, other = await revoking.secret(), await revoking.secret()
    replica = await revoking.issue(secret.credential.blessing)
    kept = await revoking.issue(other.credential.blessing, "web-2")
    done = await revoking.revoker.revoke_secret(revoking.administrator, secret.secret.id)
    assert (done.known, done.certificates) == (True, 1)
    assert revoking.judged(replica.blessing) is Reason.REVOKED
    assert revoking.judged(kept.blessing) is None
    with pytest.raises(Forbidden, match="forgotten"):
        await revoking.issue(replica.blessing)
    # The pod itself did nothing wrong: it starts over with the secret that is mounted now.
    assert revoking.judged((await revoking.issue(other.credential.blessing)).blessing) is None


async def test_a_secret_that_has_a_successor_is_forgotten_without_revoking(revoking: Revoking) -> None:
    secret = await revoking.secret()
    replica = await revoking.issue(secret.credential.blessing)
    await revoking.under.secrets.forget(revoking.administrator, secret.secret.id)
    await revoking.lists.refresh()
    assert revoking.judged(replica.blessing) is None


async def test_a_revoked_application_gets_nothing_until_it_is_reinstated(revoking: Revoking) -> None:
    secret, other = await revoking.secret(), await revoking.secret(Application("shop", "db"))
    replicas = [await revoking.issue(secret.credential.blessing, f"web-{number}") for number in range(3)]
    others = await revoking.issue(other.credential.blessing, "db-1", service_account="db")
    done = await revoking.revoker.revoke_application(revoking.administrator, WEB)
    assert done.certificates == 3
    assert {revoking.judged(one.blessing) for one in replicas} == {Reason.REVOKED}
    assert revoking.judged(others.blessing) is None
    with pytest.raises(Forbidden, match="forgotten"):
        await revoking.issue(secret.credential.blessing)
    with pytest.raises(Forbidden, match="acme:prod:shop:web was revoked; it gets no secret"):
        await revoking.secret()
    assert await revoking.revoker.reinstate_application(revoking.administrator, WEB)
    fresh = await revoking.issue((await revoking.secret()).credential.blessing)
    assert revoking.judged(fresh.blessing) is None
    assert revoking.judged(replicas[0].blessing) is Reason.REVOKED


async def test_only_administrators_revoke(revoking: Revoking) -> None:
    replica = await revoking.issue((await revoking.secret()).credential.blessing)
    for caller in (
        revoking.under.caller(replica.blessing),
        revoking.under.control_plane_caller("somebody"),
    ):
        with pytest.raises(Forbidden, match="access list"):
            await revoking.revoker.revoke_pod(caller, "uid-of-web-1")
        with pytest.raises(Forbidden, match="access list"):
            await revoking.revoker.revoke_application(caller, WEB)
    await revoking.lists.refresh()
    assert revoking.judged(replica.blessing) is None


async def test_what_is_not_there_to_revoke_is_said(revoking: Revoking) -> None:
    with pytest.raises(NotFound, match="no valid certificate"):
        await revoking.revoker.revoke_serial(revoking.administrator, "0a:bc")
    name = (await revoking.issue((await revoking.secret()).credential.blessing)).name
    with pytest.raises(NotFound, match="no live replica"):
        await revoking.revoker.revoke_name(revoking.administrator, name.extend("nobody"))


async def test_entries_leave_the_list_after_their_certificates_end_and_not_before(
    revoking: Revoking,
) -> None:
    replica = await revoking.issue((await revoking.secret()).credential.blessing)
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-web-1")
    serial = replica.blessing.leaf.serial_number
    seen = []
    for _ in range(10):
        (found,) = revoking.lists.of("acme:prod:shop:web")
        seen.append(serial in found.serials)
        if revoking.clock() <= replica.blessing.not_after:
            assert seen[-1]
        revoking.clock.turn(minutes=20)
        await revoking.lists.refresh()
    assert seen[-1] is False
    await revoking.lists.drop_expired()
    assert (
        await revoking.under.store.published_revocations.certificates(datetime(2020, 1, 1, tzinfo=UTC)) == []
    )


async def test_lists_are_numbered_upwards_and_always_of_now(revoking: Revoking) -> None:
    await revoking.issue((await revoking.secret()).credential.blessing)
    numbers, contents = [], set()
    for turn in range(30):
        await revoking.lists.refresh()
        (found,) = revoking.lists.of("acme:prod:shop:web")
        assert found.is_current(revoking.clock())
        numbers.append(found.number)
        contents.add((found.number, found.serials, found.this_update))
        if turn % 7 == 3:
            await revoking.issue((await revoking.secret()).credential.blessing, f"web-{turn}")
            await revoking.revoker.revoke_pod(revoking.administrator, f"uid-of-web-{turn}")
        revoking.clock.turn(minutes=10)
    assert numbers == sorted(numbers)
    assert len(contents) == len(set(numbers)), "a number stands for one list"


async def test_a_replica_that_has_a_version_gets_the_lists_that_changed(revoking: Revoking) -> None:
    web, db = await revoking.secret(), await revoking.secret(Application("shop", "db"))
    await revoking.issue(web.credential.blessing)
    await revoking.issue(db.credential.blessing, "db-1", service_account="db")
    await revoking.lists.refresh()
    before = revoking.lists.version
    assert set(revoking.index()) == {"acme:prod:shop:web", "acme:prod:shop:db"}
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-db-1")
    assert [name for name, number in revoking.index().items() if number > before] == ["acme:prod:shop:db"]
    about_db = revoking.lists.after(before, ["acme:prod:shop:db", "acme:unknown"])
    (of_db,) = revoking.lists.of("acme:prod:shop:db")
    assert [(one["number"], one["bytes"]) for one in about_db] == [(of_db.number, len(of_db.to_der()))]
    assert revoking.lists.required == revoking.lists.version > before


async def test_the_first_replica_of_an_application_brings_a_list_for_everybody(revoking: Revoking) -> None:
    await revoking.issue((await revoking.secret()).credential.blessing)
    await revoking.lists.refresh()
    before = revoking.lists.version
    db = await revoking.secret(Application("shop", "db"))
    await revoking.issue(db.credential.blessing, "db-1", service_account="db")
    await revoking.lists.refresh()
    assert [name for name, number in revoking.index().items() if number > before] == ["acme:prod:shop:db"]


@pytest.mark.parametrize("after_it", ["revocation", "new application", "time"])
async def test_lists_after_a_restore_replace_the_later_ones_that_replicas_have(
    revoking: Revoking, after_it: str
) -> None:
    """A replica keeps the list with the higher number, so numbers must not go back with the store."""
    store, secret = revoking.under.store, await revoking.secret()
    pods = [f"web-{number}" for number in range(4)]
    for pod in pods:
        replica = await revoking.issue(secret.credential.blessing, pod)
    await revoking.lists.refresh()
    (saved,) = await store._access.read(select(revocation_state))
    for pod in pods[:3]:
        await revoking.revoker.revoke_pod(revoking.administrator, f"uid-of-{pod}")
    version = revoking.lists.version
    known = revoking.all_lists()

    revoking.clock.turn(minutes=1)
    await store._access.write(
        lambda connection: connection.execute(update(revocation_state).values(saved._mapping))
    )
    restored = CurrentLists(store, revoking.under.room, LIFETIME, revoking.clock)
    await restored.refresh()
    if after_it == "revocation":
        await revoking.under.make_revoker(restored).revoke_pod(revoking.administrator, "uid-of-web-3")
    elif after_it == "new application":
        db = await revoking.secret(Application("shop", "db"))
        await revoking.issue(db.credential.blessing, "db-1", service_account="db")
    else:
        revoking.clock.turn(minutes=31)
    await restored.refresh()
    assert restored.version > version
    names = ["acme:prod:shop:web", "acme:prod:shop:db"]
    lists = [one for name in names for one in restored.of(name) if one.number > version]
    news = RevocationLists(tuple(lists))
    assert news.entries
    if after_it == "revocation":
        (in_force,) = known.merged(news, revoking.clock()).entries
        assert replica.blessing.leaf.serial_number in in_force.serials


async def test_replicas_of_the_agent_publish_the_same(tmp_path: Path, postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    first = Revoking(tmp_path, url)
    store = open_store(url)
    second = CurrentLists(store, first.under.room, LIFETIME, first.clock)
    replica = await first.issue((await first.secret()).credential.blessing)
    await asyncio.gather(first.lists.refresh(), second.refresh())
    await first.revoker.revoke_pod(first.administrator, "uid-of-web-1")
    await second.refresh()
    (ours,), (theirs,) = first.lists.of("acme:prod:shop:web"), second.of("acme:prod:shop:web")
    assert (ours.number, ours.serials, ours.this_update) == (
        theirs.number,
        theirs.serials,
        theirs.this_update,
    )
    assert ours.serials == {replica.blessing.leaf.serial_number}
    await store.close()
    await first.under.store.close()


async def test_revoking_waits_for_an_issuance_that_is_being_recorded(
    tmp_path: Path, postgresql: Postgresql
) -> None:
    """Else a certificate could be recorded that is on no list."""
    url = postgresql.new_database()
    revoking = Revoking(tmp_path, url)
    known = await revoking.issue((await revoking.secret()).credential.blessing)
    store = revoking.under.store
    earlier, _ = await store.issuances.with_secret(
        revoking.under.caller(known.blessing).certificate_fingerprint
    ) or (None, None)
    assert earlier is not None
    other = open_store(url)

    pending = replace(earlier, certificate_fingerprint="other", public_key_fingerprint="other")
    with other._access.database.writing.begin() as connection:
        other.issuances.record(connection, [Asked(pending)])
        revocation = asyncio.create_task(store.revocations.revoke_replica("uid-of-web-1", revoking.clock()))
        await postgresql.something_waits_for_a_lock(url)
        assert not revocation.done()
    await revocation
    with pytest.raises(ReplicaRevoked):
        await other.issuances.add(replace(pending, certificate_fingerprint="c", public_key_fingerprint="k"))
    await other.close()
    await store.close()


async def test_attack_a_list_that_is_too_big_stops_neither_the_others_nor_a_start(
    revoking: Revoking, monkeypatch: pytest.MonkeyPatch
) -> None:
    web, api = await revoking.secret(), await revoking.secret(Application("shop", "api"))
    for number in range(20):
        await revoking.issue(web.credential.blessing, f"web-{number}")
    first = await revoking.issue(api.credential.blessing, "api-1", service_account="api")
    await revoking.lists.refresh()
    (of_web,) = revoking.lists.of("acme:prod:shop:web")
    assert revoking.lists.ends_at == of_web.next_update
    monkeypatch.setattr(blessings.revocation, "MAX_BYTES", len(of_web.to_der()) + 200)

    done = await revoking.revoker.revoke_application(revoking.administrator, WEB)
    assert done.certificates == 20
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-api-1")
    assert revoking.lists.of("acme:prod:shop:web") == [of_web]
    assert revoking.judged(first.blessing) is Reason.REVOKED

    started = CurrentLists(revoking.under.store, revoking.under.room, LIFETIME, revoking.clock)
    await started.refresh()
    assert started.of("acme:prod:shop:web") == []
    assert [len(one.serials) for one in started.of("acme:prod:shop:api")] == [1]

    monkeypatch.undo()
    revoking.clock.turn(minutes=31)
    await revoking.lists.refresh()
    assert [len(one.serials) for one in revoking.lists.of("acme:prod:shop:web")] == [20]


@pytest.mark.parametrize("written", ["zz", "", "-1"])
async def test_attack_a_serial_number_that_is_none_stops_only_its_issuer_s_list(
    revoking: Revoking, written: str
) -> None:
    """Whoever can write into the database could turn the readiness of every replica."""
    web, api = await revoking.secret(), await revoking.secret(Application("shop", "api"))
    await revoking.issue(web.credential.blessing)
    other = await revoking.issue(api.credential.blessing, "api-1", service_account="api")
    await revoking.lists.refresh()
    before = revoking.lists.of("acme:prod:shop:web")
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-web-1")
    access = revoking.under.store.published_revocations._access
    forged = update(revoked_certificates).values(serial=written)
    await access.write(lambda connection: connection.execute(forged))
    started = CurrentLists(revoking.under.store, revoking.under.room, LIFETIME, revoking.clock)
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-api-1")
    with capture_logs() as lines:
        await started.refresh()
    assert started.of("acme:prod:shop:web") == []
    assert [one.serials for one in started.of("acme:prod:shop:api")] == [{other.blessing.leaf.serial_number}]
    assert started.not_made == 1
    assert [line["issuer"] for line in lines if line["log_level"] == "error"] == ["acme:prod:shop:web"]
    assert len(before) == 1


async def test_a_list_is_encoded_once_and_again_when_it_says_something_else(revoking: Revoking) -> None:
    replica = await revoking.issue((await revoking.secret()).credential.blessing)
    await revoking.lists.refresh()
    (one,) = revoking.lists.of("acme:prod:shop:web")
    assert one.to_der() is one.to_der()
    assert revoking.lists.whole_index() is revoking.lists.whole_index()
    await revoking.revoker.revoke_pod(revoking.administrator, "uid-of-web-1")
    assert revoking.judged(replica.blessing) is Reason.REVOKED


async def test_attack_one_pod_cannot_have_ever_more_certificates(revoking: Revoking) -> None:
    """Else it makes its application's revocation list longer than anybody reads."""
    secret = await revoking.secret()
    issued = [await revoking.issue(secret.credential.blessing) for _ in range(MOST_LIVE_OF_POD)]
    lives = [one.blessing.not_after - revoking.clock() for one in issued]
    shorter = MOST_LIVE_OF_POD - MOST_OF_FULL_LIFE
    assert lives == [timedelta(hours=1)] * MOST_OF_FULL_LIFE + [timedelta(minutes=5)] * shorter
    revoking.clock.turn(minutes=2)
    for blessing in (secret.credential.blessing, issued[-1].blessing):
        with pytest.raises(TooManyRequests) as caught:
            await revoking.issue(blessing)
        assert caught.value.reason == "TooManyCertificates"
        assert caught.value.retry_after_seconds == 3 * 60
    await revoking.issue(secret.credential.blessing, "web-2")
    revoking.clock.turn(minutes=3)
    again = [await revoking.issue(secret.credential.blessing) for _ in range(shorter)]
    assert all(one.blessing.not_after == revoking.clock() + timedelta(minutes=5) for one in again)
    with pytest.raises(TooManyRequests):
        await revoking.issue(secret.credential.blessing)


async def test_attack_one_pod_that_asks_many_times_at_once_has_no_more_for_it(revoking: Revoking) -> None:
    secret = await revoking.secret()
    asked = [revoking.issue(secret.credential.blessing) for _ in range(2 * MOST_LIVE_OF_POD)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    issued = [one for one in outcomes if isinstance(one, IssuedBlessing)]
    assert len(issued) == MOST_LIVE_OF_POD
    assert sum(isinstance(one, TooManyRequests) for one in outcomes) == MOST_LIVE_OF_POD
    long = [one for one in issued if one.blessing.not_after == revoking.clock() + timedelta(hours=1)]
    assert len(long) == MOST_OF_FULL_LIFE


async def test_a_pod_agent_that_starts_again_and_again_gets_on_with_a_ttl_of_a_day(
    tmp_path: Path, store_url: str
) -> None:
    revoking = Revoking(tmp_path, store_url, ttl=timedelta(hours=24))
    secret = await revoking.secret()
    waits = [10, 20, 40, 80, 160, *[300] * 100]  # the kubelet's, in seconds
    for seconds in waits:
        revoking.clock.turn(seconds=seconds)
        await revoking.issue(secret.credential.blessing)
    revoking.clock.turn(hours=24)
    healed = await revoking.issue(secret.credential.blessing)
    assert healed.blessing.not_after == revoking.clock() + timedelta(hours=24)
    await revoking.under.store.close()


async def until_free(store: Store, issuance: Issuance, now: datetime) -> None:
    """Tries again while another replica of the agent records for its Pod, as a pod agent does."""
    while True:
        try:
            await store.issuances.add(issuance, now=now)
        except PodBusy:
            continue
        return


async def test_attack_two_replicas_of_the_agent_asked_at_once_give_one_pod_no_more(store_url: str) -> None:
    now = Clock()()
    async with AsyncExitStack() as stack:
        stores = [await asyncio.to_thread(open_store, store_url) for _ in range(2)]
        for store in stores:
            stack.push_async_callback(store.close)
        secret = Secret("secret-1", WEB, "credential-1", now, now + timedelta(days=90), forgotten=False)
        await stores[0].secrets.add(secret)
        for pod in ("uid-1", "uid-2", "uid-3"):
            asked = [
                until_free(
                    store,
                    Issuance(f"{pod}-{at}-{which}", secret.id, "web", pod, f"{pod}-{at}-{which}", now + HOUR),
                    now,
                )
                for at in range(MOST_LIVE_OF_POD)
                for which, store in enumerate(stores)
            ]
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert outcomes.count(None) == MOST_LIVE_OF_POD
            assert sum(isinstance(one, TooManyCertificates) for one in outcomes) == MOST_LIVE_OF_POD


async def test_more_pods_are_revoked_at_once_than_a_statement_has_variables(
    revoking: Revoking, store_url: str
) -> None:
    secret = await revoking.secret()
    replica = await revoking.issue(secret.credential.blessing)
    more = 260_000 if store_url.startswith("sqlite") else 70_000
    uids = [f"gone-{number}" for number in range(more)]
    revocations = revoking.under.store.revocations
    done = await revocations.revoke_gone(
        [*uids, "uid-of-web-1"], revoking.clock(), Record("pod-gone", revoking.clock())
    )
    assert (done.certificates, done.known) == (1, True)
    await revoking.lists.refresh()
    assert revoking.judged(replica.blessing) is Reason.REVOKED


def _replica(agent: RunningClusterAgent, pod: str) -> tuple[Principal, Blessing]:
    principal = Principal.create()
    body = {"csr": csr_of(principal), "token": pod_token(agent.tokens, pod)}
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        chain = client.post("/v1/seek-blessings", json=body).json()["chain"]
    return principal, Blessing.from_pem(chain)


def test_over_tls_a_list_is_read_without_a_certificate(agent: RunningClusterAgent) -> None:
    principal, blessing = _replica(agent, "listed")
    with agent.control_plane_client() as client:
        answer = client.post("/v1/revoke", json={"podUid": "uid-of-listed"})
        assert answer.json()["certificates"] == 1
        for wrong in ({}, {"serial": "xyz"}, {"podUid": "a", "secret": "b"}, {"name": "no name!"}):
            assert client.post("/v1/revoke", json=wrong).status_code == 400, wrong
    with agent.client(None, None) as client:
        assert client.post("/v1/revoke", json={"podUid": "uid"}).status_code == 401
        der = client.get("/v1/crl/acme:prod:shop:web")
        assert der.headers["content-type"] == "application/pkix-crl"
        assert blessing.leaf.serial_number in RevocationList.from_der(der.content).serials
        for query in ({}, {"issuer": ["acme:prod:shop:web", "acme:unknown"]}):
            index = client.get("/v1/crl", params=query).json()
            (described,) = index["lists"]
            assert described["issuer"] == "acme:prod:shop:web"
            assert described["bytes"] == len(der.content)
            assert described["number"] <= index["version"]
        assert client.get("/v1/crl", params={"issuer": ["a"] * 65}).status_code == 400
        address = "/v1/crl/acme:prod:shop:web"
        by_key = client.get(address, params={"key": described["key"]})
        assert by_key.content == der.content
        unchanged = client.get(address, headers={"If-None-Match": der.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert client.get(address, params={"key": "00" + described["key"][2:]}).status_code == 404
        assert client.get("/v1/crl/acme:unknown").status_code == 404
    with agent.client(principal, blessing) as client:
        body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, "listed")}
        for path, content in (("/v1/seek-blessings", body), ("/v1/watch", {"have": {}})):
            refused = client.post(path, json=content)
            assert refused.status_code == 403
            assert refused.json()["error"]["reason"] == "Revoked"


def test_over_tls_forgetting_a_secret_revokes_when_it_is_asked_to(agent: RunningClusterAgent) -> None:
    """By default not: a webhook of before rotates without saying so, and would revoke running replicas."""
    serials = {}
    with agent.control_plane_client() as client:
        for pod, asked in (("by-default", {}), ("kept", {"revoke": False}), ("asked", {"revoke": True})):
            secret = agent.new_secret()
            body = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, pod)}
            with agent.credential_client(secret["credential"]) as holder:
                chain = Blessing.from_pem(holder.post("/v1/seek-blessings", json=body).json()["chain"])
                client.post("/v1/forget-secret", json={"id": secret["id"], **asked}).raise_for_status()
                refused = holder.post("/v1/seek-blessings", json=body)
                assert refused.json()["error"]["reason"] == "SecretForgotten"
            serials[pod] = chain.leaf.serial_number
        der = client.get("/v1/crl/acme:prod:shop:web").content
    listed = RevocationList.from_der(der).serials
    assert {pod for pod, serial in serials.items() if serial in listed} == {"asked"}


def test_an_answered_revocation_survives_kill_9(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as first:
        principal, blessing = _replica(first, "web-1")
        with first.control_plane_client() as client:
            client.post("/v1/revoke", json={"podUid": "uid-of-web-1"}).raise_for_status()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    with running_cluster_agent(tmp_path) as second:
        with second.client(None, None) as client:
            der = client.get("/v1/crl/acme:prod:shop:web").content
        assert blessing.leaf.serial_number in RevocationList.from_der(der).serials
        with second.client(principal, blessing) as client:
            refused = client.post("/v1/watch", json={"have": {}})
        assert refused.json()["error"]["reason"] == "Revoked"


def test_what_is_unknown_is_not_found_and_nothing_is_revoked(tmp_path: Path) -> None:
    """A mistyped name answered 200, and the replica that was meant went on."""
    unknown = Application("shop", "wbe")
    body = {"namespace": unknown.namespace, "serviceAccount": unknown.service_account}
    with running_cluster_agent(tmp_path) as agent, agent.control_plane_client() as client:
        for path, asked in (
            ("/v1/revoke", {"podUid": "uid-of-wbe"}),
            ("/v1/revoke", {"secret": "unknown"}),
            ("/v1/revoke", {"serial": "ab"}),
            ("/v1/revoke", {"name": "acme:prod:shop:web:wbe"}),
            ("/v1/revoke", {"application": body}),
            ("/v1/reinstate", body),
            ("/v1/unregister-application", body),
            ("/v1/forget-secret", {"id": "unknown"}),
            ("/v1/forget-secret", {"id": "unknown", "revoke": True}),
        ):
            answer = client.post(path, json=asked)
            assert answer.status_code == 404, (path, asked, answer.text)
        agent.new_secret(unknown.namespace, unknown.service_account)
        _replica(agent, "wbe")


def test_what_is_unknown_is_revoked_ahead_when_the_caller_says_so(agent: RunningClusterAgent) -> None:
    body = {"namespace": "shop", "serviceAccount": "ahead"}
    with agent.control_plane_client() as client:
        for asked in ({"podUid": "uid-of-ahead"}, {"application": body}):
            answer = client.post("/v1/revoke", json={**asked, "ahead": True})
            assert answer.json()["certificates"] == 0
            assert client.post("/v1/revoke", json=asked).status_code == 200, "it is known now"
        for asked in ({"secret": "unknown"}, {"serial": "ab"}, {"name": "acme:prod:shop:web:ahead"}, {}):
            assert client.post("/v1/revoke", json={**asked, "ahead": True}).status_code == 400
        assert client.post("/v1/new-secret", json=body).status_code == 403
        assert client.post("/v1/reinstate", json=body).json()["wasRevoked"]
        assert client.post("/v1/new-secret", json=body).status_code == 200
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        pod = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens, "ahead")}
        assert client.post("/v1/seek-blessings", json=pod).json()["error"]["reason"] == "Revoked"


def test_what_was_forgotten_or_revoked_before_is_known(agent: RunningClusterAgent) -> None:
    """A call without an answer is repeated."""
    secret = agent.new_secret()["id"]
    with agent.control_plane_client() as client:
        for asked in ({"id": secret}, {"id": secret}, {"id": secret, "revoke": True}):
            assert client.post("/v1/forget-secret", json=asked).status_code == 200
        assert client.post("/v1/revoke", json={"secret": secret}).status_code == 200
