"""The JWT-SVID profile of the Workload API, called by the standard's own messages, with a clock that the test
turns; and each attack on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from spiffe._proto import workload_pb2, workload_pb2_grpc

from blessings import Name, Principal, Roots, TrustBundle
from blessings.jwt.encoding import from_base64url, json_object
from blessings.jwt.keys import key_id_of, numbers_of
from blessings.jwt.svid import claims_of, signed
from pod_agent import listener
from pod_agent.errors import Refused, SeekError, Unreachable, Untrustworthy
from pod_agent.grpc.server import GrpcServer
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.jwt_svids import CALLS_AT_ONCE, MOST_CALLS, MOST_KEPT, JwtSvids
from pod_agent.revocation_lists import HeldLists
from pod_agent.trust_bundles import TrustBundles
from pod_agent.watcher import News, Published, Watcher
from pod_agent.workload.jwt import JwtProfile
from pod_agent.workload.x509 import bundles
from tests.chains import NOW, realm
from tests.clock import Clock
from tests.pod_agent.published_lists import Source, identity
from tests.pod_agent.running import short_directory
from tests.waiting import until

OURS, PARTNER = Principal.create(), Principal.create()
ID = identity().name
ACME, PARTNERS = ID.trust_domain, "spiffe://partner"
LIFE = timedelta(minutes=5)
HEADER = (("workload.spiffe.io", "true"),)


def jwk_of(key: Principal) -> dict[str, str]:
    return {"use": "jwt-svid", "kid": key_id_of(key.public_key), **numbers_of(key.public_key)}


FEDERATED = {"partner": {"keys": [jwk_of(PARTNER)]}}
BUNDLES = TrustBundles.of(ACME, [jwk_of(OURS)], FEDERATED)


def token_of(
    now: datetime, audiences: Sequence[str], name: Name = ID, key: Principal = OURS, **more: Any
) -> str:
    claims = claims_of(name, audiences, issued_at=now, expires=now + LIFE, token_id=str(id(object())))
    return signed({**claims, **more}, key)


class Issuer:
    """A cluster agent that signs whatever it is asked for, or fails with `error`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, ...]] = []
        self.error: SeekError | None = None
        self.name = ID
        self.gate: asyncio.Event | None = None

    async def jwt_svid(self, current: Identity, audiences: Sequence[str]) -> str:
        self.asked.append(tuple(audiences))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return token_of(self.clock(), audiences, self.name, jti=str(len(self.asked)))


@dataclass
class Served:
    current: CurrentIdentity
    clock: Clock
    issuer: Issuer
    svids: JwtSvids
    stub: Any

    async def fetch(self, *audiences: str, spiffe_id: str = "") -> str:
        request = workload_pb2.JWTSVIDRequest(audience=audiences, spiffe_id=spiffe_id)
        (svid,) = (await self.stub.FetchJWTSVID(request, metadata=HEADER)).svids
        assert svid.spiffe_id == ID.spiffe_id
        return str(svid.svid)

    async def validate(self, token: str, audience: str = "db") -> Any:
        request = workload_pb2.ValidateJWTSVIDRequest(audience=audience, svid=token)
        return await self.stub.ValidateJWTSVID(request, metadata=HEADER)

    def bundles(self) -> Any:
        return self.stub.FetchJWTBundles(workload_pb2.JWTBundlesRequest(), metadata=HEADER)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    clock = Clock(NOW)
    current, issuer = CurrentIdentity(clock), Issuer(clock)
    svids = JwtSvids(issuer, now=clock, clock=lambda: clock().timestamp())
    server = GrpcServer(JwtProfile(current, svids).methods())
    await current.set(identity())
    await current.set_bundles(BUNDLES)
    with short_directory() as directory:
        path = directory / "workload.sock"
        connections: list[listener.Served] = []

        def connection() -> listener.Served:
            connections.append(server.connection())
            return connections[-1]

        listening = await asyncio.get_running_loop().create_unix_server(connection, path)
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)  # type: ignore[no-untyped-call]
            yield Served(current, clock, issuer, svids, stub)
            await current.close()
        listening.close()
        for one in connections:
            one.end()


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_token_is_fetched_once_until_half_of_its_life(served: Served) -> None:
    first = await served.fetch("db")
    served.clock.turn(seconds=149)
    assert await served.fetch("db", spiffe_id=ID.spiffe_id) == first
    assert await served.fetch("other") != first
    served.clock.turn(seconds=1)
    assert await served.fetch("db") != first
    assert served.issuer.asked == [("db",), ("other",), ("db",)]


async def test_clients_that_ask_at_once_share_one_call(served: Served) -> None:
    served.issuer.gate = asyncio.Event()
    asking = [asyncio.create_task(served.fetch("db")) for _ in range(5)]
    await until("a call", lambda: bool(served.issuer.asked))
    asking[0].cancel()
    served.issuer.gate.set()
    tokens = {await one for one in asking[1:]}
    assert len(tokens) == len(served.issuer.asked) == 1


async def test_a_call_is_not_shared_with_one_that_was_made_under_another_name(served: Served) -> None:
    served.issuer.gate = asyncio.Event()
    before = asyncio.create_task(served.svids.of(identity(), ["db"]))
    await until("a call", lambda: len(served.issuer.asked) == 1)
    served.issuer.name = Name.parse("acme:other:web:web-1")
    renamed = replace(identity(), version=2, name=served.issuer.name)
    after = asyncio.create_task(served.svids.of(renamed, ["db"]))
    await until("another call", lambda: len(served.issuer.asked) == 2)
    served.issuer.gate.set()
    claims = json_object(from_base64url((await after).split(".")[1]))
    assert claims["sub"] == renamed.name.spiffe_id
    with pytest.raises(Untrustworthy):
        await before  # for the new name


async def test_while_the_cluster_agent_is_away_a_token_is_used_to_its_end(served: Served) -> None:
    token = await served.fetch("db")
    served.issuer.error = Unreachable("Unreachable", "away")
    served.clock.turn(seconds=299)
    assert await served.fetch("db") == token
    served.clock.turn(seconds=1)
    assert await refused(served.fetch("db")) == (
        grpc.StatusCode.UNAVAILABLE,
        "no JWT-SVID now: Unreachable",
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("Revoked", "revoked"), grpc.StatusCode.PERMISSION_DENIED),
        (Refused("NotServed", "an old one"), grpc.StatusCode.UNIMPLEMENTED),
        (Untrustworthy("AnswerMalformed", "odd"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_the_cluster_agent_refuses_is_said_by_the_standards_codes(
    served: Served, error: SeekError, code: grpc.StatusCode
) -> None:
    served.issuer.error = error
    assert (await refused(served.fetch("db")))[0] is code


async def test_attack_a_name_that_is_not_the_callers(served: Served) -> None:
    code, _ = await refused(served.fetch("db", spiffe_id="spiffe://acme/prod/shop/db/db-1"))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert served.issuer.asked == []


@pytest.mark.parametrize(
    "audiences", [[], [""], ["a b"], ["x" * 2049], ["db", "db"], [str(n) for n in range(9)]]
)
async def test_attack_audiences_cost_no_call(served: Served, audiences: list[str]) -> None:
    code, _ = await refused(served.fetch(*audiences))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert served.issuer.asked == []


async def test_attack_a_container_that_asks_for_ever_more_audiences(served: Served) -> None:
    """It takes at most half of the Pod's rate, and a bounded memory."""
    for number in range(CALLS_AT_ONCE):
        await served.fetch(str(number))
    code, _ = await refused(served.fetch("more"))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await served.fetch("0"), "what is kept is served"
    for number in range(100):
        served.clock.turn(seconds=2)
        await served.fetch(f"slowly-{number}")
    assert len(served.svids._kept) == MOST_KEPT
    served.clock.turn(seconds=60)
    served.issuer.gate = asyncio.Event()
    asking = [asyncio.create_task(served.fetch(f"at-once-{n}")) for n in range(MOST_CALLS)]
    await until("all calls", lambda: len(served.svids._asking) == MOST_CALLS)
    assert (await refused(served.fetch("one-more")))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    served.issuer.gate.set()
    await asyncio.gather(*asking)
    assert served.svids._asking == {}


async def test_attack_a_cluster_agent_that_answers_with_the_token_of_another(served: Served) -> None:
    served.issuer.name = Name.parse("acme:prod:shop:db:db-1")
    assert (await refused(served.fetch("db")))[0] is grpc.StatusCode.UNAVAILABLE


async def test_without_an_identity_there_is_nothing(served: Served) -> None:
    token = await served.fetch("db")
    await served.current.set(None)
    for call in (served.fetch("db"), served.validate(token), served.bundles().read()):
        code, said = await refused(call)
        assert (code, said) == (grpc.StatusCode.PERMISSION_DENIED, "no identity issued yet")


async def test_every_call_needs_the_security_header(served: Served) -> None:
    stub = served.stub
    for call in (
        stub.FetchJWTSVID(workload_pb2.JWTSVIDRequest(audience=["db"])),
        stub.ValidateJWTSVID(workload_pb2.ValidateJWTSVIDRequest(audience="db", svid="x")),
        stub.FetchJWTBundles(workload_pb2.JWTBundlesRequest()).read(),
    ):
        assert (await refused(call))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_bundles_follow_the_rotation_of_keys_and_the_federation(served: Served) -> None:
    call = served.bundles()
    first = dict((await call.read()).bundles)
    assert set(first) == {ACME, PARTNERS}
    assert json.loads(first[ACME]) == {"keys": [jwk_of(OURS)]}
    await served.current.set(replace(identity(2), name=ID))  # a renewal, which is no change of them
    await served.current.set_bundles(TrustBundles.of(ACME, [jwk_of(OURS), jwk_of(PARTNER)], {}))
    second = dict((await call.read()).bundles)
    assert set(second) == {ACME}
    assert len(json.loads(second[ACME])["keys"]) == 2
    await served.current.set(None)
    code, said = await refused(call.read())
    assert (code, said) == (grpc.StatusCode.PERMISSION_DENIED, "the identity has expired")


async def test_the_bundles_wait_for_the_keys_of_the_own_trust_domain(served: Served) -> None:
    await served.current.set_bundles(TrustBundles())
    call = served.bundles()
    reading = asyncio.create_task(call.read())
    code, _ = await refused(served.validate(token_of(NOW, ["db"])))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert not reading.done()
    await served.current.set_bundles(BUNDLES)
    assert set((await reading).bundles) == {ACME, PARTNERS}


async def test_a_token_is_validated_with_its_claims(served: Served) -> None:
    more: dict[str, Any] = {
        "n": 1.5,
        "yes": True,
        "none": None,
        "list": [1, "a", {"b": []}],
        "object": {"c": "d"},
    }
    answer = await served.validate(token_of(NOW, ["db"], **more))
    assert answer.spiffe_id == ID.spiffe_id
    claims = dict(answer.claims)
    assert (claims["sub"], list(claims["aud"])) == (ID.spiffe_id, ["db"])
    assert claims["exp"] == (NOW + LIFE).timestamp()
    assert (claims["n"], claims["yes"], claims["none"]) == (1.5, True, None)
    assert answer.claims["list"][2]["b"] is not None
    assert answer.claims["object"]["c"] == "d"


async def test_a_token_of_a_federated_trust_domain_is_validated_by_its_keys_alone(served: Served) -> None:
    api = Name.parse("partner:api")
    assert (await served.validate(token_of(NOW, ["db"], api, PARTNER))).spiffe_id == api.spiffe_id
    for forged in (token_of(NOW, ["db"], api, OURS), token_of(NOW, ["db"], ID, PARTNER)):
        code, said = await refused(served.validate(forged))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "does not have" in said


@pytest.mark.parametrize(
    ("audience", "turned", "said"),
    [("other", 0, "not meant for"), ("db", 300, "expired"), ("", 0, "needed")],
)
async def test_attack_a_token_for_another_or_after_its_end(
    served: Served, audience: str, turned: int, said: str
) -> None:
    token = token_of(NOW, ["db"])
    served.clock.turn(seconds=turned)
    code, why = await refused(served.validate(token, audience))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in why


async def test_attack_claims_that_no_struct_can_contain(served: Served) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    nested: Any = {}
    for _ in range(40):
        nested = {"a": nested}
    for odd in (10**400, deep, nested, "\ud800", {"\ud800": 1}):
        code, said = await refused(served.validate(token_of(NOW, ["db"], odd=odd)))
        assert (code, said) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "the claims cannot be written as a Struct",
        )


def test_attack_a_federated_root_is_for_its_own_trust_domain_and_is_no_root_of_ours() -> None:
    """SPIFFE clients get it under its own name; the agent protocol, and we ourselves, not at all."""
    partner, evil = realm("partner"), realm("acme")
    foreign = TrustBundle.of(Roots.of(partner.root.certificate), Name.parse("partner"))
    claimed = TrustBundle.of(Roots.of(evil.root.certificate), Name.parse("acme"))
    federated = {"partner": foreign.to_value(), "acme": claimed.to_value()}
    given = replace(identity(), bundles=TrustBundles.of(ACME, [jwk_of(OURS), jwk_of(PARTNER)], federated))
    found = bundles(given)
    assert set(found) == {ACME, PARTNERS}
    assert found[ACME] == bundles(identity())[ACME], "our own is not what a federated bundle states"
    assert given.roots == identity().roots
    assert set(given.bundles.verifying_keys) == {ACME}


async def test_the_watcher_takes_keys_and_bundles_and_states_what_it_has() -> None:
    current = CurrentIdentity(Clock(NOW))
    await current.set(identity())
    keys, federation = Published(3, {"keys": [jwk_of(OURS)]}), Published(2, {"bundles": FEDERATED})
    unreadable = Published(9, {"bundles": {"partner": {"keys": [{"use": "jwt-svid"}]}}})
    source = Source(
        News(15, jwt_keys=keys),
        News(15, federation=federation),
        News(15, None, 7, identity().roots + realm().roots, federation=unreadable),
        News(15),
    )
    watcher = Watcher(source, current, HeldLists(source), _Keeper(), chance=lambda: 0.5)
    await watcher.round()
    await watcher.round()
    assert current.value is not None
    assert current.value.bundles == BUNDLES
    await current.set(identity(2))
    assert current.value.bundles == BUNDLES, "a renewal keeps them"
    with pytest.raises(Untrustworthy):
        await watcher.round()
    assert current.value.bundles == BUNDLES
    assert len(current.value.roots) == 2, "roots are not delayed by what cannot be read"
    await watcher.round()
    assert source.asked_bundles == [(0, 0), (3, 0), (3, 2), (3, 2)]


class _Keeper:
    def start_over(self) -> None:
        pass
