"""SDS as a client of gRPC sees it: names, answers and their acknowledgement, changes, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509

from blessings import Authority, Name, Principal, Root, Roots
from blessings.encoding.chains import to_der
from blessings.patterns import Pattern
from pod_agent.envoy.discovery import MOST_NAMES, SecretDiscovery
from pod_agent.envoy.secrets import TYPE_URL
from pod_agent.grpc.messages import bytes_field, read, text_field
from pod_agent.grpc.server import GrpcServer
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.trust_bundles import TrustBundles
from tests.clock import Clock
from tests.log_lines import captured_lines
from tests.pod_agent.running import short_directory
from tests.waiting import PATIENCE_SECONDS, until

SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService"
SPIFFE_ID = "spiffe://acme/prod/shop/web/web-1"
SPIFFE_VALIDATOR = "envoy.tls.cert_validator.spiffe"


def authority(name: str, now: datetime) -> Authority:
    return Authority.create_root(Name.parse(name), Principal.create(), now=now, lifetime=timedelta(days=1))


class World:
    """The identity that is served, and a client's channel."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.root = authority("acme", self.clock())
        self.current = CurrentIdentity(self.clock)
        self.version = 0
        self.channel: Any = None
        self.rejections = 0

    def rejected(self) -> None:
        self.rejections += 1

    async def rotate(self, *more_roots: Root) -> Identity:
        self.version += 1
        principal, now = Principal.create(), self.clock()
        blessing = self.root.bless(
            principal.public_key, "prod:shop:web:web-1", now=now, lifetime=timedelta(hours=1)
        )
        roots = Roots.of(self.root.certificate) + Roots(more_roots)
        identity = Identity(self.version, principal, blessing, blessing.presented, roots, now)
        await self.current.set(identity)
        return identity

    def federated(self, name: str, pattern: str | None = None) -> Root:
        certificate = authority(name, self.clock()).certificate
        return Root(certificate, Pattern.parse(pattern or name))

    def stream(self) -> Envoy:
        return Envoy(self.channel.stream_stream(f"{SERVICE}/StreamSecrets")())

    async def fetch(self, *names: str) -> Response:
        return Response.parse(await self.channel.unary_unary(f"{SERVICE}/FetchSecrets")(request(*names)))


@dataclass(frozen=True)
class Response:
    version: str
    nonce: str
    secrets: dict[str, bytes]

    @classmethod
    def parse(cls, message: bytes) -> Response:
        fields = read(message, 1, 2, 4, 5)
        assert fields.text(4) == TYPE_URL
        found = {}
        for resource in fields.contents(2):
            wrapped = read(resource, 1, 2)
            assert wrapped.text(1) == TYPE_URL
            found[read(wrapped.content(2), 1).text(1)] = wrapped.content(2)
        return cls(fields.text(1), fields.text(5), found)

    def certificate(self, name: str) -> tuple[bytes, bytes]:
        """The chain and the key."""
        certificate = read(read(self.secrets[name], 2).content(2), 1, 2)
        return read(certificate.content(1), 2).content(2), read(certificate.content(2), 2).content(2)

    def trust(self, name: str) -> dict[str, list[x509.Certificate]]:
        """The roots of each trust domain."""
        validator = read(read(read(self.secrets[name], 4).content(4), 12).content(12), 1, 2)
        assert validator.text(1) == SPIFFE_VALIDATOR
        domains = [read(one, 1, 2) for one in read(read(validator.content(2), 2).content(2), 1).contents(1)]
        return {
            one.text(1): x509.load_pem_x509_certificates(read(one.content(2), 2).content(2))
            for one in domains
        }


def request(
    *names: str, taken: Response | None = None, complaint: str = "", type_url: str = TYPE_URL
) -> bytes:
    """A DiscoveryRequest, with a node as Envoy describes itself."""
    described = bytes_field(2, text_field(1, "web-1") + text_field(6, "envoy"))
    asked = described + b"".join(text_field(3, name) for name in names) + text_field(4, type_url)
    if taken is not None:
        asked += text_field(5, taken.nonce) + (b"" if complaint else text_field(1, taken.version))
    return asked + (bytes_field(6, text_field(2, complaint)) if complaint else b"")


class Envoy:
    """The client's side of a stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def ask(self, *names: str, **more: Any) -> None:
        await self.call.write(request(*names, **more))

    async def answer(self) -> Response:
        return Response.parse(await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS))

    async def refused(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(self.call.read(), PATIENCE_SECONDS)
        return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[None]:
    with short_directory() as directory:
        path, connections = directory / "workload.sock", []
        server = GrpcServer(SecretDiscovery(world.current, world.rejected).methods())

        def connection() -> Any:
            connections.append(server.connection())
            return connections[-1]

        listening = await asyncio.get_running_loop().create_unix_server(connection, path)
        async with grpc.aio.insecure_channel(f"unix:{path}") as world.channel:
            yield
        listening.close()
        for one in connections:
            one.end()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with serving(made):
        yield made


@pytest.mark.parametrize("name", [SPIFFE_ID, "default"])
async def test_the_own_certificate_has_two_names(world: World, name: str) -> None:
    identity, envoy = await world.rotate(), world.stream()
    await envoy.ask(name)
    answer = await envoy.answer()
    assert list(answer.secrets) == [name]
    assert answer.certificate(name) == (identity.blessing.to_pem().encode(), identity.principal.to_pem())


async def test_the_roots_are_by_trust_domain_and_a_narrow_one_is_for_nobody(world: World) -> None:
    umbrella = world.federated("umbrella")
    await world.rotate(umbrella, world.federated("acme", "acme:prod"))
    own, theirs = {"acme": [world.root.certificate]}, {"umbrella": [umbrella.certificate]}
    for name, expected in (
        ("ROOTCA", own), ("spiffe://acme", own), ("spiffe://umbrella", theirs), ("ALL", own | theirs),
    ):  # fmt: skip
        envoy = world.stream()
        await envoy.ask(name)
        assert (await envoy.answer()).trust(name) == expected
    fetched = await world.fetch("ROOTCA", "ALL", "default")
    assert set(fetched.secrets) == {"ROOTCA", "ALL", "default"}


async def test_a_federated_bundle_is_sent_and_is_for_its_own_domain(world: World) -> None:
    identity, federated = await world.rotate(), world.federated("umbrella").certificate
    envoy = world.stream()
    await envoy.ask("ALL", "ROOTCA")
    first = await envoy.answer()
    assert first.trust("ALL") == first.trust("ROOTCA") == {"acme": [world.root.certificate]}
    await envoy.ask("ALL", "ROOTCA", taken=first)
    bundles = {"spiffe://umbrella": to_der([federated]), identity.name.trust_domain: to_der([federated])}
    await world.current.set_bundles(TrustBundles(roots=bundles))
    second = await envoy.answer()
    assert second.trust("ROOTCA") == {"acme": [world.root.certificate]}
    assert second.trust("ALL") == {"acme": [world.root.certificate], "umbrella": [federated]}
    assert (await world.fetch("spiffe://umbrella")).trust("spiffe://umbrella") == {"umbrella": [federated]}


async def test_without_names_there_is_each_secret_once(world: World) -> None:
    await world.rotate(world.federated("umbrella"))
    for names in ((), ("",)):
        fetched = await world.fetch(*names)
        assert set(fetched.secrets) == {SPIFFE_ID, "spiffe://acme", "spiffe://umbrella"}
        assert fetched.nonce == ""


@pytest.mark.parametrize(
    "name", ["spiffe://acme/prod/shop/web/web-2", "spiffe://other", "acme", "rootca", "Default"]
)
async def test_attack_a_secret_that_is_not_the_replica_s(world: World, name: str) -> None:
    """Refused as SPIRE's agent refuses it: the stream ends, and what Envoy has stays."""
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default", name)
    code, details = await envoy.refused()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "this replica has no secret" in details
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.fetch(name)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_rotation_is_sent_on_the_same_stream_with_another_version_and_nonce(world: World) -> None:
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default")
    first = await envoy.answer()
    await envoy.ask("default", taken=first)
    identity = await world.rotate()
    second = await envoy.answer()
    assert second.certificate("default")[1] == identity.principal.to_pem()
    assert second.version != first.version
    assert second.nonce != first.nonce


async def test_new_roots_are_sent_and_what_envoy_does_not_see_is_not(world: World) -> None:
    identity = await world.rotate()
    envoy = world.stream()
    await envoy.ask("ROOTCA")
    first = await envoy.answer()
    await envoy.ask("ROOTCA", taken=first)
    await world.current.set_lists((b"a list",))
    await world.current.set(replace(identity, version=2))
    other = authority("acme", world.clock()).certificate
    await world.current.set_roots(identity.roots + Roots.of(other))
    second = await envoy.answer()
    assert second.nonce == "2"
    assert second.trust("ROOTCA") == {"acme": [world.root.certificate, other]}


async def test_names_are_changed_on_a_stream_and_the_same_ones_are_no_question(world: World) -> None:
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default")
    first = await envoy.answer()
    await envoy.ask("default", taken=first)
    await envoy.ask("ROOTCA", "default", taken=first)
    second = await envoy.answer()
    assert (second.nonce, second.version) == ("2", first.version)
    assert set(second.secrets) == {"ROOTCA", "default"}
    await envoy.ask("default", "ROOTCA", taken=second)
    await envoy.ask("ROOTCA", taken=second)
    assert set((await envoy.answer()).secrets) == {"ROOTCA"}


async def test_a_request_that_crossed_our_answer_is_not_answered(world: World) -> None:
    """xDS: one with another nonce than the last answer's was sent before it."""
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default")
    first = await envoy.answer()
    await envoy.ask("ROOTCA")
    await envoy.ask("ROOTCA", taken=replace(first, nonce="7"))
    await envoy.ask("ALL", taken=first)
    assert set((await envoy.answer()).secrets) == {"ALL"}


async def test_a_rejected_answer_is_logged_and_sent_again_only_when_it_has_changed(world: World) -> None:
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default")
    first = await envoy.answer()
    with captured_lines() as logged:
        await envoy.ask("default", taken=first, complaint="x" * 10_000)
        await until("the log", lambda: logged)
    assert logged[0]["event"] == "envoy rejected secrets"
    assert logged[0]["names"] == "default"
    assert len(logged[0]["error"]) <= 300
    assert world.rejections == 1
    await world.rotate()
    assert (await envoy.answer()).nonce == "2"


async def test_a_stream_waits_for_the_first_identity_and_ends_with_the_last(world: World) -> None:
    envoy = world.stream()
    await envoy.ask("default")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.fetch("default")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await world.rotate()
    await envoy.answer()
    world.clock.turn(hours=1)
    await world.current.expire()
    assert (await envoy.refused())[0] is grpc.StatusCode.PERMISSION_DENIED
    again = world.stream()
    await again.ask("default")
    await world.rotate()
    assert "default" in (await again.answer()).secrets


@pytest.mark.parametrize(
    "message",
    [
        request(*(f"name-{number}" for number in range(MOST_NAMES + 1))),
        request("default", type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"),
        b"\xff",
        text_field(3, "default")[:-1],
        bytes_field(3, b"\xff"),
        bytes_field(6, b"\xff"),
    ],
    ids=["names", "type", "varint", "cut", "utf-8", "detail"],
)
async def test_attack_a_malformed_or_excessive_request(world: World, message: bytes) -> None:
    await world.rotate()
    call = world.channel.stream_stream(f"{SERVICE}/StreamSecrets")()
    await call.write(message)
    assert (await Envoy(call).refused())[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert "default" in (await world.fetch("default")).secrets


async def test_incremental_discovery_is_unimplemented(world: World) -> None:
    call = world.channel.stream_stream(f"{SERVICE}/DeltaSecrets")()
    assert (await Envoy(call).refused())[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_that_ends_its_side_ends_the_stream(world: World) -> None:
    await world.rotate()
    envoy = world.stream()
    await envoy.ask("default")
    await envoy.answer()
    await envoy.call.done_writing()
    assert await envoy.call.code() is grpc.StatusCode.OK
