"""The application registry: names that an administrator chose, and each attack on them. Real stores,
certificates and tokens under the test's clock."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from structlog.testing import capture_logs

from blessings import Authority, Blessing, Expiry, Name, Principal, Roots, VerificationError, verify_blessing
from cluster_agent.audit import Record
from cluster_agent.errors import Conflict, Forbidden, NotFound, Refusal, StoreError, Unavailable
from cluster_agent.fair_queue import Tenant
from cluster_agent.model import Application, Secret
from cluster_agent.registry.registry import Registration
from cluster_agent.store import Store, open_store, tables
from cluster_agent.store.registry import RegisteredRow
from tests.claims import Administrator
from tests.cluster_agent.registry.claimed import WEB, Claimed
from tests.cluster_agents import pod_token, running_cluster_agent
from tests.csrs import csr_of

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


async def refused(claimed: Claimed, name: str, chain: str | None = None) -> str:
    """The reason of a registration that must be refused, with nothing registered."""
    with pytest.raises(Refusal) as caught:
        await claimed.register(name, chain)
    assert await claimed.registered() == []
    assert claimed.proven(await claimed.issue()) == "acme:prod:shop:web:web-1"
    return caught.value.reason


async def test_an_application_has_the_name_that_its_administrator_granted(claimed: Claimed) -> None:
    await claimed.register("acme:fortuned", claimed.grant("fortuned"))
    assert claimed.proven(await claimed.issue()) == "acme:fortuned:web-1"
    assert claimed.proven(await claimed.issue(Application("shop", "api"))) == "acme:prod:shop:api:web-1"


async def test_a_name_below_the_prefix_is_granted_by_the_agent_itself(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Fortuned")
    assert claimed.proven(await claimed.issue()) == "acme:prod:Fortuned:web-1"


async def test_an_application_has_a_life_of_its_own_for_its_certificates(claimed: Claimed) -> None:
    await claimed.register("acme:prod:Fortuned", ttl=7200)
    assert (await claimed.issue()).leaf.not_valid_after_utc == claimed.clock() + timedelta(hours=2)


async def test_registering_again_changes_it_and_unregistering_ends_it(claimed: Claimed) -> None:
    await claimed.register("acme:prod:One")
    await claimed.register("acme:prod:Two", ttl=600)
    ((registered, _),) = await claimed.registered()
    assert (str(registered.name), registered.ttl_seconds) == ("acme:prod:Two", 600)
    assert await claimed.registrar.unregister(claimed.chief(), WEB)
    with pytest.raises(NotFound, match="shop/web has no registration"):
        await claimed.registrar.unregister(claimed.chief(), WEB)
    assert claimed.proven(await claimed.issue()) == "acme:prod:shop:web:web-1"


async def test_credentials_of_the_name_before_are_forgotten(claimed: Claimed) -> None:
    issued = await claimed.secrets.make(claimed.administrator(), WEB)
    other = await claimed.secrets.make(claimed.administrator(), Application("shop", "api"))
    await claimed.register("acme:prod:Fortuned")
    with pytest.raises(Forbidden) as caught:
        await claimed.issuer.seek_blessings(
            claimed.caller(issued.credential.blessing), csr_of(Principal.create()), claimed.token(), None
        )
    assert caught.value.reason == "SecretForgotten"
    assert [one.id for one in await claimed.secrets.live(claimed.chief())] == [other.secret.id]


async def test_what_was_issued_under_the_name_before_is_revoked(claimed: Claimed) -> None:
    before = await claimed.issue()
    await claimed.register("acme:prod:Fortuned")
    (revoked,) = await claimed.store.published_revocations.certificates(claimed.clock())
    assert revoked.serial == f"{before.leaf.serial_number:x}"
    claimed.clock.turn(seconds=1)
    after = await claimed.issue()
    await claimed.register("acme:prod:Fortuned", ttl=600)
    assert len(await claimed.store.published_revocations.certificates(claimed.clock())) == 1
    await claimed.registrar.unregister(claimed.chief(), WEB)
    serials = {one.serial for one in await claimed.store.published_revocations.certificates(claimed.clock())}
    assert serials == {f"{one.leaf.serial_number:x}" for one in (before, after)}


async def test_a_renaming_that_ended_half_way_is_finished_by_repeating_it(
    claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await claimed.secrets.make(claimed.administrator(), WEB)

    async def away(application: Application, now: datetime) -> list[Secret]:
        raise Unavailable("StoreUnavailable", "away")

    with monkeypatch.context() as broken:
        broken.setattr(claimed.store.secrets, "live_of", away)
        with pytest.raises(Unavailable):
            await claimed.register("acme:prod:Fortuned")
    claimed.clock.turn(minutes=1)
    of_the_new_name = await claimed.secrets.make(claimed.administrator(), WEB)
    for _ in range(2):
        claimed.clock.turn(minutes=1)
        await claimed.register("acme:prod:Fortuned")
        live = await claimed.secrets.live(claimed.chief())
        assert [one.id for one in live] == [of_the_new_name.secret.id]


async def test_attack_a_token_that_is_reviewed_while_its_application_is_renamed(claimed: Claimed) -> None:
    """Renamed at another replica, whose forgetting is not in the store yet."""
    issued = await claimed.secrets.make(claimed.administrator(), WEB)
    attestor = claimed.issuer.attestor

    class RenamingAttestor:
        kind = "jwks"

        async def attest(self, token: str, tenant: Tenant) -> object:
            await claimed.put(Registration(WEB, Name.parse("acme:prod:Fortuned"), None, None))
            return await attestor.attest(token, tenant)

    claimed.issuer.attestor = RenamingAttestor()  # type: ignore[assignment]  # wraps the real one
    old = Blessing.from_pem(claimed.grant("old"))
    await claimed.put(Registration(WEB, Name.parse("acme:old"), None, old))
    caller = claimed.caller(issued.credential.blessing)
    answer = await claimed.issuer.seek_blessings(caller, csr_of(Principal.create()), claimed.token(), None)
    assert str(answer.name) == "acme:prod:Fortuned:web-1"


async def test_the_registry_is_followed_when_the_claim_cannot_be_read(claimed: Claimed) -> None:
    registration = Registration(WEB, Name.parse("acme:prod:Fortuned"), None, None)
    await claimed.put(registration)
    with claimed.store._access.database.writing.begin() as connection:
        connection.execute(update(tables.documents).values(document="another's"))
    with pytest.raises(StoreError):
        await claimed.claim_keeper(claimed.code_file, lambda _: None).look()
    assert await claimed.registry.of(WEB) == registration


async def test_a_grant_that_has_ended_names_nobody(claimed: Claimed) -> None:
    await claimed.register("acme:fortuned", claimed.grant("fortuned", lifetime=timedelta(hours=2)))
    blessing = await claimed.issue()
    assert blessing.leaf.not_valid_after_utc == claimed.clock() + timedelta(hours=1)
    claimed.clock.turn(minutes=90)
    assert (await claimed.issue()).leaf.not_valid_after_utc == claimed.clock() + timedelta(minutes=30)
    claimed.clock.turn(minutes=31)
    with pytest.raises(Refusal, match="too soon to sign with it"):
        await claimed.issue()


async def test_attack_a_name_that_was_not_granted(claimed: Claimed) -> None:
    assert await refused(claimed, "acme:fortuned") == "NotGranted"
    assert await refused(claimed, "acme") == "AdministratorsAmongReplicas"
    assert await refused(claimed, "acme:prod") == "NameAbovePrefix"
    assert await refused(claimed, "acme:production:x") == "NotGranted"
    assert await refused(claimed, "other:prod:x") == "NotGranted"
    assert await refused(claimed, "acme:prod:a b") == "InvalidName"


async def test_attack_a_grant_for_another_name_or_key_or_by_another_root(claimed: Claimed) -> None:
    grants = {
        claimed.grant("other"): "OtherName",
        claimed.root.grant(Principal.create().public_key, "fortuned", path_length=0): "BlessingForAnotherKey",
        Administrator(claimed.clock()).grant(
            claimed.room.issuing.public_key, "fortuned", path_length=0
        ): "ChainInvalid",
        claimed.grant("fortuned", caveats=[Expiry(datetime(2100, 1, 1, tzinfo=UTC))]): "RestrictedBlessing",
        "no PEM": "InvalidChain",
    }
    for chain, reason in grants.items():
        assert await refused(claimed, "acme:fortuned", chain) == reason


async def test_attack_the_name_of_another_application(claimed: Claimed) -> None:
    assert await refused(claimed, "acme:prod:shop:api") == "NameOfAnother"
    assert await refused(claimed, "acme:prod:shop:api:x") == "NameOfAnother"
    await claimed.register("acme:prod:Fortuned", application=Application("shop", "api"))
    with pytest.raises(Refusal, match="another application is registered as acme:prod:Fortuned"):
        await claimed.register("acme:prod:Fortuned")


async def test_attack_a_name_that_pods_would_make_an_application_s_of_another_namespace(
    claimed: Claimed,
) -> None:
    """A Pod `web` of who has the name of the namespace `shop` would be `acme:prod:shop:web`."""
    for name in ("shop", "evil", "0", "a-b", "a" * 63):
        assert await refused(claimed, f"acme:prod:{name}") == "NameOfNamespace"
    assert await refused(claimed, "acme:prod:shop", claimed.grant("prod:shop")) == "NameOfNamespace"
    assert await refused(claimed, "acme:prod", claimed.grant("prod")) == "NameAbovePrefix"
    for name in ("Shop", "shop_web", "shop.web", "a" * 64):
        await claimed.register(f"acme:prod:{name}")
        assert claimed.proven(await claimed.issue()) == f"acme:prod:{name}:web-1"


async def test_the_name_that_an_application_has_by_itself_may_be_registered(claimed: Claimed) -> None:
    await claimed.register("acme:prod:shop:web", ttl=600)
    assert claimed.proven(await claimed.issue()) == "acme:prod:shop:web:web-1"


@pytest.mark.parametrize("order", [1, -1])
async def test_attack_a_name_that_pods_would_make_another_registered_one(
    claimed: Claimed, order: int
) -> None:
    """A Pod `db` of `acme:fortuned` would be `acme:fortuned:db`."""
    first, second = ["fortuned", "fortuned:db"][::order]
    await claimed.register(f"acme:{first}", claimed.grant(first), application=Application("shop", "api"))
    with pytest.raises(Refusal, match=f"another application is registered as acme:{first}") as caught:
        await claimed.register(f"acme:{second}", claimed.grant(second))
    assert caught.value.reason == "NameTaken"
    assert claimed.proven(await claimed.issue()) == "acme:prod:shop:web:web-1"
    await claimed.register("acme:fortuned2", claimed.grant("fortuned2"))
    await claimed.register("acme:fortuned2:db", claimed.grant("fortuned2:db"))


async def test_names_that_were_registered_before_they_were_refused_are_reported(claimed: Claimed) -> None:
    """As an older version wrote them. They stay in force: taking them away would cut off who has them."""
    await claimed.register("acme:prod:Good", application=Application("shop", "good"))
    issuing = claimed.room.issuing
    with claimed.store._access.database.writing.begin() as connection:
        for account, name in (
            ("web", "acme:prod:shop"),
            ("api", "acme:prod:other:api"),
            ("one", "acme:prod:One"),
            ("two", "acme:prod:One:db"),
            ("boss", "acme:administrator"),
        ):
            chain = Blessing.from_pem(claimed.grant("administrator")) if account == "boss" else None
            row = Registration(Application("shop", account), Name.parse(name), None, chain)
            values = {**asdict(row.row(issuing, claimed.clock())), "registered_at": 0}
            connection.execute(insert(tables.applications).values(values))
    with capture_logs() as logged:
        await claimed.registry.inspect()
    said = {one["serviceAccount"]: one["objection"] for one in logged if "refused now" in one["event"]}
    assert len([one for one in logged if one["log_level"] == "error"]) == len(said) == 5
    assert "is the name of a namespace" in said["web"]
    assert "is the name of namespace other, service account api" in said["api"]
    assert "shop/two is acme:prod:One:db" in said["one"]
    assert "is the name of namespace One, service account db" in said["two"]
    assert "which administers this cluster agent" in said["boss"]
    assert claimed.proven(await claimed.issue()) == "acme:prod:shop:web-1"
    await claimed.register("acme:prod:Web")
    assert (WEB, None) in [(one.application, objection) for one, objection in await claimed.registered()]


async def test_a_name_is_in_the_way_of_itself_and_of_what_is_above_or_below_whatever_the_characters(
    store: Store,
) -> None:
    """A database may order texts by language, where `-`, `.` and `:` count little."""
    ends = ("", ":a", ":a:b", ":B", "-a", "-", ".a", "_a", "0", "z", "Z", "9:a")
    names = [f"acme:fortuned{end}" for end in ends]

    async def is_in_the_way(one: str, other: str) -> bool:
        try:
            await put(store, "one", one)
            await put(store, "other", other)
        except Conflict:
            return True
        finally:
            await store.registered.remove(Application("shop", "other"), Record("unregistered", NOW))
        return False

    for one in names:
        in_the_way = [other for other in names if await is_in_the_way(one, other)]
        assert in_the_way == [
            other for other in names if f"{one}:".startswith(f"{other}:") or f"{other}:".startswith(f"{one}:")
        ]


async def put(store: Store, account: str, name: str) -> None:
    row = RegisteredRow("shop", account, name, None, None, "", NOW)
    await store.registered.put(row, Record("registered", NOW), own_name="")


async def test_attack_two_names_of_which_one_extends_the_other_at_the_same_moment(
    claimed: Claimed, store_url: str
) -> None:
    other = open_store(store_url) if store_url.startswith("postgresql") else claimed.store
    put = []
    for number, store in enumerate([claimed.store, other] * 10):
        name = "acme:fortuned" + ":db" * (number % 2)
        row = RegisteredRow(f"shop-{number % 2}", "web", name, None, None, "", claimed.clock())
        put.append(store.registered.put(row, Record("registered", row.registered_at), own_name=""))
    outcomes = await asyncio.gather(*put, return_exceptions=True)
    assert {type(one) for one in outcomes} <= {datetime, type(None), Conflict}
    assert len(await claimed.store.registered.page(None, 100)) == 1
    if other is not claimed.store:
        await other.close()


async def test_attack_a_name_whose_replicas_would_administer(claimed: Claimed) -> None:
    for name in ("administrator", "administrator:tools"):
        assert await refused(claimed, f"acme:{name}", claimed.grant(name)) == "AdministratorsAmongReplicas"


async def test_attack_registering_by_who_may_not(claimed: Claimed) -> None:
    replica = claimed.caller(await claimed.issue())
    for caller in (replica, claimed.chief("intern"), claimed.control_plane_caller("cluster-agent")):
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await claimed.registrar.register(caller, WEB, "acme:prod:X", None, None)
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await claimed.registrar.unregister(caller, WEB)
        with pytest.raises(Forbidden, match="not in the administrators' access list"):
            await claimed.registrar.registered(caller)


@pytest.mark.parametrize("change", [{"name": "acme:prod:shop:api"}, {"name": "acme:admin"}, {"chain": None}])
async def test_attack_a_row_changed_in_the_database_names_nobody(
    claimed: Claimed, change: dict[str, Any]
) -> None:
    await claimed.register("acme:fortuned", claimed.grant("fortuned"))
    with claimed.store._access.database.writing.begin() as connection:
        connection.execute(update(tables.applications).values(change))
    with pytest.raises(Forbidden, match="was not made by this cluster agent"):
        await claimed.issue()
    api = Application("shop", "api")
    assert await claimed.registry.names_of([WEB, api]) == {api: Name.parse("acme:prod:shop:api")}
    with capture_logs() as logged:
        await claimed.registry.inspect()
    assert [(one["event"], one["serviceAccount"]) for one in logged] == [("registration not believed", "web")]
    await claimed.register("acme:prod:Again")
    assert claimed.proven(await claimed.issue()) == "acme:prod:Again:web-1"


async def test_attack_an_agent_that_is_taken_over_names_nobody_outside_of_its_grants(
    claimed: Claimed,
) -> None:
    """With the issuing key in the attacker's hands, and no check in the way, the chain gives it away."""
    issuing = claimed.room.issuing
    delegated = claimed.room.identity.signing
    wide = Authority.create_root(Name.parse("acme"), issuing, now=claimed.clock(), lifetime=timedelta(days=1))
    application = wide.grant(
        issuing.public_key, "admin", now=claimed.clock(), lifetime=timedelta(hours=1)
    ).certificates
    leaf = Authority(issuing, Blessing((*application, *delegated.blessing.certificates))).bless(
        Principal.create().public_key, "pod", now=claimed.clock(), lifetime=timedelta(hours=1)
    )
    for chain in (leaf, Blessing(leaf.certificates[:2])):
        with pytest.raises(VerificationError):
            claimed.proven(chain)


@pytest.mark.parametrize("ttl", [1, 299, 86_401])
async def test_a_life_out_of_bounds_is_refused(claimed: Claimed, ttl: int) -> None:
    with pytest.raises(Refusal, match="a TTL is 300 to 86400 s here"):
        await claimed.register("acme:prod:Fortuned", ttl=ttl)


def test_the_program_names_replicas_as_registered(tmp_path: Path) -> None:
    with running_cluster_agent(tmp_path) as agent:
        with agent.control_plane_client() as client:
            body = {"namespace": "shop", "serviceAccount": "web", "name": "acme:prod:Fortuned"}
            client.post("/v1/register-application", json=body).raise_for_status()
            (listed,) = client.get("/v1/applications").json()["applications"]
        assert listed["name"] == "acme:prod:Fortuned"
        issued = agent.new_secret()
        assert issued["application"] == issued["credential"]["application"] == "acme:prod:Fortuned"
        with agent.credential_client(issued["credential"]) as client:
            seek = {"csr": csr_of(Principal.create()), "token": pod_token(agent.tokens)}
            answer = client.post("/v1/seek-blessings", json=seek).json()
        name = verify_blessing(
            Blessing.from_pem(answer["chain"]), Roots.from_json(answer["roots"]), now=datetime.now(UTC)
        )
        assert str(name) == "acme:prod:Fortuned:web-1"
