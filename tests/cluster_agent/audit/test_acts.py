"""Every administrative act has its record, on both databases: who did it, what it was, and what it changed.
The act and its record are there both, or neither is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text

from blessings import Blessing, Name, Principal, Roots, fingerprint
from cluster_agent.callers import Caller, certificate_fingerprint
from cluster_agent.errors import DataDirectoryError, NotFound, Unavailable
from cluster_agent.model import Application
from cluster_agent.revocation.gone_pods import GonePods
from cluster_agent.revocation.lists import CurrentLists
from cluster_agent.roots.keys import RootKeys
from cluster_agent.roots.root_keeper import RootKeeper
from cluster_agent.roots.rotation import Schedule
from cluster_agent.secrets.bootstrap_secrets import IssuedSecret
from cluster_agent.signing.room import ROOT_LIFETIME
from cluster_agent.store import Store
from cluster_agent.store.database import database_url
from cluster_agent.store.documents import SignedDocument
from cluster_agent.store.tables import METADATA
from tests.claims import ADMINISTRATORS, CODE, Administrator
from tests.cluster_agent.audit.test_audit import report, shown
from tests.cluster_agents import ADMINISTRATOR, SECRET_KEEPER, AgentUnderClock
from tests.csrs import csr_of

WEB = Application("shop", "web")
CHIEF = "acme:administrator"


class World(AgentUnderClock):
    """An agent and everything that administers it."""

    def __init__(self, directory: Path, store_url: str, *, claimable: bool) -> None:
        super().__init__(directory, store_url, claimable=claimable)
        (directory / "code").write_text(CODE)
        self.url, self.directory = store_url, directory
        self.noted: dict[str, Any] = {}
        """What `prepare` has to tell `details`."""
        self.root = Administrator(self.clock())
        self.claiming = self.claim_keeper(directory / "code", lambda _: None)
        lists = CurrentLists(self.store, self.room, timedelta(hours=1), self.clock)
        self.revoker = self.make_revoker(lists)
        self.keeper = RootKeeper(
            room=self.room,
            records=self.store.root_succession,
            fleet=self.store.fleet,
            keys=RootKeys(directory, Name.parse("acme"), ROOT_LIFETIME, makes_keys=True),
            schedule=Schedule(timedelta(days=365), 1.0, timedelta(hours=1), timedelta(minutes=2)),
            trust=lambda _: None,
            now=self.clock,
        )

    async def claim(self) -> None:
        await self.claiming.claim(**self.root.claim(self.room.issuing.public_key))

    def chief(self) -> Caller:
        return self.caller(self.root.leaf()[1])

    def chain(self, extension: str = "prod", **changes: Any) -> str:
        return self.root.grant(self.room.issuing.public_key, extension, **changes)

    async def secret(self) -> IssuedSecret:
        return await self.secrets.make(self.secret_keeper(), WEB)

    async def replica(self, secret: IssuedSecret | None = None) -> Blessing:
        """The blessing of web-1, with a new secret or that one."""
        caller = self.caller((secret or await self.secret()).credential.blessing)
        csr = csr_of(Principal.create())
        return (await self.issuer.seek_blessings(caller, csr, self.token(), None)).blessing

    def seconds(self, **later: float) -> int:
        return int((self.clock() + timedelta(**later)).timestamp())


Do = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Act:
    """`prepare` makes the world ready and answers what is to be done. `said` is what the record must say, of
    which `details` are made from the world afterwards; `table` is what the act itself writes to."""

    name: str
    by: str
    table: str
    prepare: Callable[[World], Awaitable[Do]]
    details: Callable[[World], dict[str, Any]]
    claimed: bool = True
    before_claim: bool = False


async def claiming(world: World) -> Do:
    return world.claim


async def renewing_the_chain(world: World) -> Do:
    world.noted["was"] = world.room.identity.signing.blessing
    chain = world.chain(lifetime=timedelta(days=700))
    return lambda: world.claiming.renew(chain, by=world.chief().name)


def renewed(world: World) -> dict[str, Any]:
    was = world.noted["was"]
    now = world.room.identity.signing.blessing
    return {
        "certificate": certificate_fingerprint(now),
        "notAfter": world.seconds(days=700),
        "before": {"certificate": certificate_fingerprint(was), "notAfter": world.seconds(days=365)},
    }


async def registering(world: World) -> Do:
    return lambda: world.registrar.register(world.chief(), WEB, "acme:prod:Fortuned", 600, None)


async def registering_again(world: World) -> Do:
    await world.registrar.register(world.chief(), WEB, "acme:prod:Old", 600, None)
    return lambda: world.registrar.register(
        world.chief(), WEB, "acme:fortuned", 900, world.chain("fortuned", path_length=0)
    )


async def unregistering(world: World) -> Do:
    await world.registrar.register(world.chief(), WEB, "acme:prod:Old", 600, None)
    return lambda: world.registrar.unregister(world.chief(), WEB)


async def making_a_secret(world: World) -> Do:
    return world.secret


async def forgetting_a_secret(world: World) -> Do:
    world.noted["id"] = (await world.secret()).secret.id
    return lambda: world.secrets.forget(world.secret_keeper(), world.noted["id"])


async def forgetting_and_revoking_a_secret(world: World) -> Do:
    await world.replica()
    (secret,) = await world.store.secrets.live(world.clock())
    world.noted["id"] = secret.id
    return lambda: world.revoker.forget_secret(world.secret_keeper(), secret.id)


async def an_administrator_forgetting_and_revoking_a_secret(world: World) -> Do:
    await forgetting_and_revoking_a_secret(world)
    return lambda: world.revoker.forget_secret(world.chief(), world.noted["id"])


async def revoking_a_secret(world: World) -> Do:
    await world.replica()
    (secret,) = await world.store.secrets.live(world.clock())
    world.noted["id"] = secret.id
    return lambda: world.revoker.revoke_secret(world.chief(), secret.id)


async def revoking_a_pod(world: World) -> Do:
    await world.replica()
    return lambda: world.revoker.revoke_pod(world.chief(), "uid-of-web-1")


async def revoking_a_name(world: World) -> Do:
    await world.replica()
    return lambda: world.revoker.revoke_name(world.chief(), Name.parse("acme:prod:shop:web:web-1"))


async def revoking_a_serial(world: World) -> Do:
    world.noted["serial"] = f"{(await world.replica()).leaf.serial_number:x}"
    return lambda: world.revoker.revoke_serial(world.chief(), world.noted["serial"])


async def revoking_an_application(world: World) -> Do:
    await world.replica()
    return lambda: world.revoker.revoke_application(world.chief(), WEB)


async def reinstating(world: World) -> Do:
    await world.secret()
    await world.revoker.revoke_application(world.chief(), WEB)
    return lambda: world.revoker.reinstate_application(world.chief(), WEB)


async def deleting_a_pod(world: World) -> Do:
    await world.replica()

    async def nothing() -> None:
        pass

    gone = GonePods(world.store, None, nothing, world.clock)  # type: ignore[arg-type]  # nobody is asked
    gone.note_deleted("uid-of-web-1")
    gone.note_deleted("uid-of-somebody")
    return gone.revoke_noted


async def the_first_certificate_of_an_application(world: World) -> Do:
    secret = await world.secret()
    return lambda: world.replica(secret)


async def the_next_certificate_of_an_application(world: World) -> Do:
    secret = await world.secret()
    await world.replica(secret)
    world.clock.turn(days=21)
    return lambda: world.replica(secret)


async def beginning_the_roots(world: World) -> Do:
    return world.keeper.start


async def preparing_a_root(world: World) -> Do:
    await world.keeper.start()
    return lambda: world.keeper.prepare(by=Name.parse(ADMINISTRATOR))


async def activating_a_root(world: World) -> Do:
    await world.keeper.start()
    prepared = (await world.keeper.prepare(by=Name.parse(ADMINISTRATOR))).prepared
    assert prepared is not None
    return lambda: world.keeper.activate(prepared.fingerprint, force=True, by=Name.parse(ADMINISTRATOR))


async def withdrawing_a_root(world: World) -> Do:
    await (await activating_a_root(world))()
    (old,) = [one for one in world.keeper.state.roots if one is not world.keeper.state.active]
    world.noted["old"] = old.fingerprint
    return lambda: world.keeper.withdraw(old.fingerprint, force=True, by=Name.parse(ADMINISTRATOR))


async def a_year_passing(world: World) -> Do:
    await world.keeper.start()
    world.clock.turn(days=365)
    await world.keeper.look()
    return world.keeper.lead


def roots(world: World, *changes: list[str | None], force: bool) -> dict[str, Any]:
    """For each current root, oldest first."""
    keys = [one.fingerprint for one in world.keeper.state.roots]
    changed = {key: change for key, change in zip(keys, changes, strict=True) if change}
    return {"version": world.keeper.state.version, "roots": changed, "force": force}


NEW = {"namespace": "shop", "serviceAccount": "web", "name": "acme:prod:Fortuned", "ttlSeconds": 600}
OLD = {"name": "acme:prod:Old", "ttlSeconds": 600, "chain": None, "dnsNames": []}
ACTS = [
    Act(
        "claimed",
        "",
        "documents",
        claiming,
        lambda world: {
            "prefix": "acme:prod",
            "rootKey": fingerprint(world.root.root.principal.public_key),
            "administrators": {**ADMINISTRATORS, "not_in": []},
            "notAfter": world.seconds(days=365),
        },
        before_claim=True,
    ),
    Act("chain-renewed", CHIEF, "documents", renewing_the_chain, renewed),
    Act(
        "registered",
        CHIEF,
        "applications",
        registering,
        lambda _: {**NEW, "chain": None, "dnsNames": [], "before": None},
    ),
    Act(
        "registered",
        CHIEF,
        "applications",
        registering_again,
        lambda _: {"name": "acme:fortuned", "ttlSeconds": 900, "before": OLD},
    ),
    Act(
        "unregistered",
        CHIEF,
        "applications",
        unregistering,
        lambda _: {"namespace": "shop", "serviceAccount": "web", "before": OLD},
    ),
    Act(
        "secret-made",
        SECRET_KEEPER,
        "secrets",
        making_a_secret,
        lambda _: {"application": "acme:prod:shop:web"},
    ),
    Act(
        "secret-forgotten",
        SECRET_KEEPER,
        "secrets",
        forgetting_a_secret,
        lambda world: {"id": world.noted["id"]},
    ),
    Act(
        "secret-forgotten",
        SECRET_KEEPER,
        "revoked_certificates",
        forgetting_and_revoking_a_secret,
        lambda world: {"id": world.noted["id"], "revoked": True, "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_certificates",
        an_administrator_forgetting_and_revoking_a_secret,
        lambda world: {"secret": world.noted["id"], "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_certificates",
        revoking_a_secret,
        lambda world: {"secret": world.noted["id"], "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_replicas",
        revoking_a_pod,
        lambda _: {"uid": "uid-of-web-1", "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_replicas",
        revoking_a_name,
        lambda _: {"name": "acme:prod:shop:web:web-1", "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_certificates",
        revoking_a_serial,
        lambda world: {"serial": world.noted["serial"], "certificates": 1},
    ),
    Act(
        "revoked",
        CHIEF,
        "revoked_applications",
        revoking_an_application,
        lambda _: {"application": "acme:prod:shop:web", "certificates": 1},
    ),
    Act(
        "reinstated",
        CHIEF,
        "revoked_applications",
        reinstating,
        lambda _: {"application": "acme:prod:shop:web"},
    ),
    Act(
        "pod-gone",
        "",
        "revoked_replicas",
        deleting_a_pod,
        lambda _: {
            "uid": "uid-of-web-1",
            "pod": "web-1",
            "namespace": "shop",
            "serviceAccount": "web",
            "certificates": 1,
        },
    ),
    Act(
        "issuer-renewed",
        "",
        "issuers",
        the_first_certificate_of_an_application,
        lambda world: {
            "name": "acme:prod:shop:web",
            "key": fingerprint(world.room.issuing.public_key),
            "notAfter": world.seconds(days=30),
        },
    ),
    Act(
        "issuer-renewed",
        "",
        "issuers",
        the_next_certificate_of_an_application,
        lambda world: {"notAfter": world.seconds(days=30)},
    ),
    Act(
        "roots-changed",
        "",
        "documents",
        beginning_the_roots,
        lambda world: {
            "version": 1,
            "roots": {world.keeper.state.active.fingerprint: [None, "active"]},
            "longestTtlSeconds": [None, 3600],
        },
        claimed=False,
    ),
    Act(
        "roots-changed",
        ADMINISTRATOR,
        "documents",
        preparing_a_root,
        lambda world: roots(world, [], [None, "prepared"], force=False),
        claimed=False,
    ),
    Act(
        "roots-changed",
        ADMINISTRATOR,
        "documents",
        activating_a_root,
        lambda world: roots(world, ["active", "retiring"], ["prepared", "active"], force=True),
        claimed=False,
    ),
    Act(
        "roots-changed",
        ADMINISTRATOR,
        "documents",
        withdrawing_a_root,
        lambda world: {"roots": {world.noted["old"]: ["retiring", None]}, "force": True},
        claimed=False,
    ),
    Act(
        "roots-changed",
        "",
        "documents",
        a_year_passing,
        lambda world: roots(world, [], [None, "prepared"], force=False),
        claimed=False,
    ),
]


@pytest.fixture
async def engine(store_url: str) -> AsyncIterator[Engine]:
    made = create_engine(database_url(store_url))
    yield made
    made.dispose()


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def contents(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Of every table."""
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
            for name, table in METADATA.tables.items()
        }


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.prepare.__name__)
async def test_an_act_has_its_record_or_did_not_happen(
    act: Act, store_url: str, tmp_path: Path, engine: Engine
) -> None:
    world = World(tmp_path, store_url, claimable=act.claimed)
    if act.claimed and not act.before_claim:
        await world.claim()
    do = await act.prepare(world)
    before, known = contents(engine), shown(store_url)
    for table in ("audit_records", act.table):
        run(engine, f"ALTER TABLE {table} RENAME TO elsewhere")
        with pytest.raises(Unavailable):
            await do()
        run(engine, f"ALTER TABLE elsewhere RENAME TO {table}")
        assert contents(engine) == before, table
    await do()
    (record,) = [one for one in shown(store_url) if one["act"] == act.name and one not in known]
    assert record["caller"] == act.by
    assert record["at"] == world.clock().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    said = act.details(world)
    assert {key: record.get(key) for key in said} == said
    assert report(store_url, await world.store.audit_notes()).problems == []
    written = json.dumps(shown(store_url))
    for secret in ("PRIVATE KEY", "BEGIN ", CODE):
        assert secret not in written
    await world.store.close()


@pytest.fixture
async def world(tmp_path: Path, store_url: str) -> AsyncIterator[World]:
    made = World(tmp_path, store_url, claimable=True)
    await made.claim()
    yield made
    await made.store.close()


async def test_what_changed_nothing_has_no_record(world: World, store_url: str) -> None:
    await world.replica()
    known = shown(store_url)
    chief = world.chief()
    api = Application("shop", "api")
    assert not await world.revoker.reinstate_application(chief, WEB)
    with pytest.raises(NotFound):
        await world.secrets.forget(world.secret_keeper(), "unknown")
    with pytest.raises(NotFound):
        await world.registrar.unregister(chief, api)
    with pytest.raises(NotFound):
        await world.revoker.revoke_secret(chief, "unknown")
    with pytest.raises(NotFound):
        await world.revoker.revoke_application(chief, api)
    with pytest.raises(NotFound):
        await world.revoker.revoke_pod(chief, "unknown")
    with pytest.raises(NotFound):
        await world.revoker.revoke_serial(chief, "ab")
    with pytest.raises(NotFound):
        await world.revoker.revoke_name(chief, Name.parse("acme:prod:shop:web:web-7"))
    assert len(shown(store_url)) == len(known)


async def test_a_pod_that_is_gone_has_one_record_however_often_it_is_looked_for(
    world: World, store_url: str
) -> None:
    revoke = await deleting_a_pod(world)
    for _ in range(3):
        await revoke()
    assert [one["uid"] for one in shown(store_url) if one["act"] == "pod-gone"] == ["uid-of-web-1"]


async def test_what_a_registration_revokes_is_recorded_too(world: World, store_url: str) -> None:
    await world.replica()
    await world.registrar.register(world.chief(), WEB, "acme:prod:Fortuned", None, None)
    (revoked,) = [one for one in shown(store_url) if one["act"] == "revoked"]
    assert (revoked["caller"], revoked["certificates"]) == (CHIEF, 1)


async def test_a_roots_key_is_deleted_when_that_is_recorded(
    tmp_path: Path, store_url: str, engine: Engine
) -> None:
    world = World(tmp_path, store_url, claimable=False)
    await (await withdrawing_a_root(world))()
    old = world.noted["old"]
    run(engine, "ALTER TABLE audit_records RENAME TO elsewhere")
    with pytest.raises(Unavailable):
        await world.keeper.lead()
    assert old in world.keeper.keys.held()
    run(engine, "ALTER TABLE elsewhere RENAME TO audit_records")
    for _ in range(2):
        await world.keeper.lead()
    assert old not in world.keeper.keys.held()
    found = [(one["act"], one["key"]) for one in shown(store_url) if one["act"].startswith("root-key")]
    assert found == [("root-key-deleting", old), ("root-key-deleted", old)]
    await world.store.close()


async def test_a_roots_key_that_cannot_be_deleted_is_not_recorded_again_and_again(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, store_url, claimable=False)
    await (await withdrawing_a_root(world))()
    old = world.noted["old"]

    def full(_path: Path) -> None:
        raise DataDirectoryError("cannot delete")

    with monkeypatch.context() as patched:
        patched.setattr("cluster_agent.roots.keys.delete_durably", full)
        for _ in range(3):
            with pytest.raises(DataDirectoryError):
                await world.keeper.lead()
    assert [one["act"] for one in shown(store_url) if one.get("key") == old] == ["root-key-deleting"]
    await world.keeper.lead()
    found = [one["act"] for one in shown(store_url) if one.get("key") == old]
    assert found == ["root-key-deleting", "root-key-deleted"]
    assert old not in world.keeper.keys.held()
    await world.store.close()


async def test_of_two_claims_one_has_a_record(world: World, store_url: str) -> None:
    other: Store = world.store
    again = await other.claim.begin(SignedDocument(1, "{}", ""))
    assert not again
    assert [one["act"] for one in shown(store_url)].count("claimed") == 1
    assert world.room.identity_roots == Roots.of(world.root.root.certificate)
