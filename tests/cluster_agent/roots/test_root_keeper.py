"""The identity roots' phases in a real store, with keys in files; the program through a whole rotation."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from blessings import Blessing, Name, Principal, Roots, verify_blessing
from cluster_agent.audit import Record
from cluster_agent.errors import BadRequest, StoreError, Unavailable
from cluster_agent.roots.keys import RootKeys
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.roots.rotation import Phase, RootSuccession, Schedule
from cluster_agent.signing.key_files import make_signing_room, read_signing_room
from cluster_agent.signing.room import ROOT_LIFETIME
from cluster_agent.store import Store
from cluster_agent.store.documents import SignedDocument
from tests.clock import Clock
from tests.cluster_agents import RunningClusterAgent, pod_token, running_cluster_agent
from tests.csrs import csr_of
from tests.postgresql import Postgresql
from tests.waiting import wait_for

CHIEF = Name.parse("acme:administrator")
CHANGE = Record("roots-changed", datetime(2026, 11, 24, tzinfo=UTC))
ACME, WEB = Name.parse("acme"), Name.parse("acme:prod:shop:web")
TTL, MARGIN = timedelta(hours=1), timedelta(minutes=2)
SETTLED = (TTL + MARGIN).total_seconds()


def now() -> datetime:
    return datetime.now(UTC)


class Replica:
    """One process of the agent: what is lost with it is lost."""

    def __init__(self, store: Store, directory: Path, clock: Clock, *, makes_keys: bool = True) -> None:
        if makes_keys:
            make_signing_room(directory, ACME, now=clock())
        self.room = read_signing_room(directory, ACME)
        self.clock = clock
        self.trusted: list[Roots] = []
        self.keeper = RootKeeper(
            room=self.room,
            records=store.root_succession,
            fleet=store.fleet,
            keys=RootKeys(directory, ACME, ROOT_LIFETIME, makes_keys=makes_keys),
            schedule=Schedule(timedelta(days=365) if makes_keys else None, 1.0, TTL, MARGIN),
            trust=self.trusted.append,
            now=clock,
        )

    def sign(self) -> Blessing:
        key = Principal.create().public_key
        return self.room.sign_replica(WEB, "web-1", key, now=self.clock(), ttl=TTL)

    def phases(self) -> dict[str, Phase]:
        return {one.fingerprint: one.phase for one in self.keeper.state.roots}


async def test_a_year_later_it_rotates_by_itself_and_survives_a_kill_after_each_step(
    store: Store, tmp_path: Path
) -> None:
    clock = Clock()

    async def restarted() -> Replica:
        replica = Replica(store, tmp_path, clock)
        await replica.keeper.start()
        return replica

    first = await restarted()
    (old,) = first.phases()
    before = first.sign()
    await first.keeper.lead()
    assert first.phases() == {old: Phase.ACTIVE}

    clock.turn(days=365)
    await first.keeper.look()
    await first.keeper.lead()
    second = await restarted()
    new = next(key for key, phase in second.phases().items() if phase is Phase.PREPARED)
    assert second.phases() == {old: Phase.ACTIVE, new: Phase.PREPARED}
    last_under_old = second.sign()
    assert len(second.room.identity_roots) == 2

    clock.turn(seconds=MARGIN.total_seconds())
    third = await restarted()
    await third.keeper.lead()
    third = await restarted()
    assert third.phases() == {old: Phase.ACTIVE, new: Phase.PREPARED}, "announced"
    await third.keeper.lead()
    fourth = await restarted()
    assert fourth.phases() == {old: Phase.RETIRING, new: Phase.ACTIVE}
    for blessing in (last_under_old, fourth.sign()):
        verify_blessing(blessing, second.room.identity_roots, now=clock())

    clock.turn(seconds=SETTLED)
    fifth = await restarted()
    assert clock() > last_under_old.not_after > before.not_after
    await fifth.keeper.lead()
    sixth = await restarted()
    assert sixth.phases() == {new: Phase.ACTIVE}
    await sixth.keeper.lead()
    assert list(sixth.keeper.keys.held()) == [new], "the key of a root that is gone is still there"
    assert verify_blessing(sixth.sign(), sixth.room.identity_roots, now=clock()) == WEB.extend("web-1")
    assert sixth.trusted


async def test_a_key_made_before_a_kill_and_never_recorded_is_the_next_root(
    store: Store, tmp_path: Path
) -> None:
    clock = Clock()
    replica = Replica(store, tmp_path, clock)
    await replica.keeper.start()
    left = replica.keeper.keys.make(clock())
    state = await replica.keeper.prepare(by=CHIEF)
    assert state.prepared is not None
    assert state.prepared.certificate == left.certificate
    assert len(replica.keeper.keys.held()) == 2


async def test_of_two_steps_at_once_one_is_taken(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    one, other = Replica(store, tmp_path, clock), Replica(store, tmp_path, clock)
    await one.keeper.start()
    await other.keeper.start()
    await one.keeper.prepare(by=CHIEF)
    with pytest.raises(BadRequest, match="is prepared; activate or withdraw it"):
        await other.keeper.prepare(by=CHIEF)
    seen = other.keeper.state
    assert seen == one.keeper.state
    assert not await store.root_succession.replace(seen.version - 1, SignedDocument(99, "{}", ""), CHANGE)
    assert not await store.root_succession.replace(seen.version + 1, SignedDocument(99, "{}", ""), CHANGE)


async def test_on_mounted_keys_the_next_root_is_what_an_administrator_puts_there(
    store: Store, tmp_path: Path
) -> None:
    clock, made, mounted = Clock(), tmp_path / "made", tmp_path / "mounted"
    for directory in (made, mounted):
        directory.mkdir()
    make_signing_room(made, ACME, now=clock())
    for path in made.iterdir():
        (mounted / path.name).write_bytes(path.read_bytes())
    leader = Replica(store, made, clock, makes_keys=False)
    late = Replica(store, mounted, clock, makes_keys=False)
    await leader.keeper.start()
    await late.keeper.start()
    with pytest.raises(BadRequest, match="cluster-agent-keys --next-root"):
        await leader.keeper.prepare(by=CHIEF)
    clock.turn(days=400)
    await leader.keeper.look()
    await leader.keeper.lead()
    assert set(leader.phases().values()) == {Phase.ACTIVE}, "no key, no rotation"

    RootKeys(made, ACME, ROOT_LIFETIME, makes_keys=True).make(clock())
    await leader.keeper.lead()
    prepared = leader.keeper.state.prepared
    assert prepared is not None
    clock.turn(seconds=SETTLED)
    await leader.keeper.look()
    await leader.keeper.lead()
    await leader.keeper.lead()
    assert leader.keeper.state.active.fingerprint == prepared.fingerprint
    leader.sign()
    await late.keeper.look()
    with pytest.raises(Unavailable, match="the key of the active root") as caught:
        late.sign()
    assert caught.value.reason == "RootKeyMissing"
    with pytest.raises(StoreError, match="this database belongs to a cluster agent whose root key it is"):
        await Replica(store, mounted, clock, makes_keys=False).keeper.start()
    for path in made.iterdir():
        (mounted / path.name).write_bytes(path.read_bytes())
    await late.keeper.look()
    late.sign()


async def test_attack_a_root_written_into_the_database_is_not_believed(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    replica, other = Replica(store, tmp_path, clock), Replica(store, tmp_path / "other", clock)
    await replica.keeper.start()
    first = await store.root_succession.read()
    assert first is not None
    forged = RootSuccession.begin(other.room.identity.signing.certificate, clock(), TTL)
    for put in (
        replace(first, version=2, document=forged.to_json()),
        replace(first, version=3),
        SignedDocument(4, forged.to_json(), "no signature"),
    ):
        assert await store.root_succession.replace(put.version - 1, put, CHANGE)
        with pytest.raises(StoreError, match=r"not put there by|cannot be read"):
            await replica.keeper.look()
        with pytest.raises(StoreError, match=r"not put there by|cannot be read"):
            await Replica(store, tmp_path, clock).keeper.start()


async def test_attack_an_older_state_put_back_into_the_database_is_not_taken_up(
    store: Store, tmp_path: Path
) -> None:
    """It is signed by the issuing key; a root that was withdrawn must not come back with it."""
    clock = Clock()
    replica = Replica(store, tmp_path, clock)
    await replica.keeper.start()
    older = await store.root_succession.read()
    assert older is not None
    clock.turn(days=365)
    await replica.keeper.look()
    await replica.keeper.lead()
    known = replica.keeper.state
    assert known.version > older.version
    with structlog.testing.capture_logs() as logged:
        assert await store.root_succession.replace(known.version, older, CHANGE)
        await replica.keeper.look()
    assert replica.keeper.state == known
    assert [(one["log_level"], one["version"], one["known"]) for one in logged] == [
        ("error", older.version, known.version)
    ]
    clock.turn(days=1)
    await replica.keeper.look()
    with pytest.raises(Unavailable):
        replica.sign()


def test_the_program_makes_the_next_root_beside_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cluster_agent.make_keys", "--name-prefix", "acme:prod", str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    following = subprocess.run([*command, "--next-root"], capture_output=True, text=True, check=True).stdout
    held = RootKeys(tmp_path, ACME, ROOT_LIFETIME, makes_keys=False).held()
    assert {f"root acme, key {key}\n" for key in held} == {first, following}


Held = tuple[Principal, Blessing, Roots]


def posted(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer; an agent whose view of the roots is a moment too old asks to come again."""

    def answered() -> httpx.Response | None:
        response = client.post(path, json=body)
        return None if response.status_code == 503 else response

    response = wait_for(f"an answer of {path}", answered)
    assert response is not None
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def seek(agent: RunningClusterAgent, client: httpx.Client, pod: str) -> Held:
    principal = Principal.create()
    body = {"csr": csr_of(principal), "token": pod_token(agent.tokens, pod)}
    answer = posted(client, "/v1/seek-blessings", body)
    return principal, Blessing.from_pem(answer["chain"]), Roots.from_json(answer["roots"])


def renewed(agent: RunningClusterAgent, credential: dict[str, Any], pod: str, held: Held) -> Held:
    """By the previous blessing; anew, where it ended before it was renewed."""
    try:
        with agent.client(*held[:2]) as client:
            return seek(agent, client, pod)
    except httpx.HTTPError:
        if now() < held[1].not_after:
            raise
    with agent.credential_client(credential) as client:
        return seek(agent, client, pod)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_program_goes_through_a_whole_rotation_over_tls(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    flags: dict[str, Any] = {
        "ttl_seconds": 6,
        "longest_ttl_seconds": 6,
        "minimum_ttl_seconds": 1,
        "root_margin_seconds": 3,
        "rate_per_replica": 100,
    }
    if kind == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        flags["database_url"] = server.new_database()
    with running_cluster_agent(tmp_path, **flags) as agent, agent.control_plane_client() as administrator:
        credential = agent.new_secret()["credential"]

        def phases() -> dict[str, str]:
            answer = administrator.get("/v1/identity-roots").raise_for_status().json()
            return {one["phase"]: one["key"] for one in answer["roots"]}

        with agent.credential_client(credential) as client:
            held = {pod: seek(agent, client, pod) for pod in ("web-1", "web-2")}
        old = phases()["active"]
        if kind == "postgresql":
            RootKeys(agent.keys_directory, ACME, ROOT_LIFETIME, makes_keys=True).make(now())
        else:
            administrator.post("/v1/identity-roots/prepare").raise_for_status()
        first = wait_for("a prepared root", lambda: found if "prepared" in (found := phases()) else {})
        new = first["prepared"]
        early = administrator.post("/v1/identity-roots/activate", json={"key": new})
        assert early.json()["error"]["reason"] == "RootNotDistributed"

        seen = [first]
        deadline = time.monotonic() + 180
        while seen[-1] != {"active": new}:
            assert time.monotonic() < deadline, seen[-1]
            turn = ("web-1", "web-2")[len(seen) % 2]
            held[turn] = renewed(agent, credential, turn, held[turn])
            moment = now()
            live = [one for one in held.values() if one[1].not_after > moment]
            for one in live:
                for other in live:
                    verify_blessing(one[1], other[2], now=moment)
            seen.append(phases())
            time.sleep(0.2)
        assert {"active": old, "prepared": new} in seen
        assert {"retiring": old, "active": new} in seen
        assert len(renewed(agent, credential, "web-1", held["web-1"])[2]) == 1
        with agent.client(None, None) as client:
            assert len(client.get("/v1/roots").json()["roots"]) == 1
        assert "PRIVATE" not in agent.log()


def test_the_program_activates_as_soon_as_every_live_replica_says_that_it_has_the_root(
    tmp_path: Path,
) -> None:
    with (
        running_cluster_agent(tmp_path, root_margin_seconds=6, rate_per_replica=100) as agent,
        agent.control_plane_client() as administrator,
    ):
        with agent.credential_client(agent.new_secret()["credential"]) as client:
            principal, blessing, _ = seek(agent, client, "web-1")

        def described() -> tuple[int, list[str]]:
            """The version, and each root's phase."""
            answer = administrator.get("/v1/identity-roots").raise_for_status().json()
            return answer["version"], [one["phase"] for one in answer["roots"]]

        with agent.client(principal, blessing) as client:

            def polled(have: int) -> int:
                answer = posted(client, "/v1/watch", {"have": {"roots": have}})
                news = answer["publications"].get("roots")
                if news is None:
                    return have
                assert len(Roots.from_json(news["content"])) == 2
                return int(news["version"])

            # On connections that are open: the root is announced six seconds after it was prepared.
            posted(client, "/v1/watch", {"have": {"roots": 0}})
            prepared = administrator.post("/v1/identity-roots/prepare").raise_for_status().json()["version"]
            have = polled(0)
            assert have == prepared, "said before it is announced, which is another version"
            polled(have)
            announced = (prepared + 1, ["active", "prepared"])
            wait_for("the announcement", lambda: described() == announced)
            for _ in range(5):
                time.sleep(0.5)  # in which the leader looks
                assert described() == announced, "activated by what was said too early"
            have = polled(have)
            polled(have)
        wait_for("the activation", lambda: described()[1] == ["retiring", "active"])


def test_attack_only_an_administrator_takes_steps(agent: RunningClusterAgent) -> None:
    with agent.credential_client(agent.new_secret()["credential"]) as client:
        answers = [client.get("/v1/identity-roots")]
        answers += [
            client.post(f"/v1/identity-roots/{step}", json={"key": "00", "force": True})
            for step in ("prepare", "activate", "withdraw")
        ]
    assert {one.json()["error"]["reason"] for one in answers} == {"NotAnAdministrator"}
