"""The pod agent's listeners as targets: any bytes are a client's connection, which is answered or ended, and
never by an error that nobody foresaw."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import cache
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection

from pod_agent.agent_protocol import AgentProtocol
from pod_agent.envoy.discovery import SecretDiscovery
from pod_agent.errors import Unreachable
from pod_agent.grpc.server import GrpcServer
from pod_agent.http.connection import HttpConnection
from pod_agent.identity import CurrentIdentity, Identity
from pod_agent.jwt_svids import JwtSvids
from pod_agent.listener import Served
from pod_agent.revocation_lists import HeldLists
from pod_agent.workload.jwt import JwtProfile
from pod_agent.workload.x509 import X509Profile
from service.bounded_log import BoundedLog
from service.log import get_logger
from tests.chains import HOUR, NOW, realm
from tests.clock import Clock
from tests.log_lines import captured_lines
from tests.pod_agent.published_lists import Source

_WEB = realm()
_WAITS = 20  # turns of the event loop: a call has one or two that wait


class _Transport:
    """That of a client which reads all at once."""

    closing = False

    def write(self, data: bytes) -> None:
        """It has it."""

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """The bytes are all here."""

    resume_reading = pause_reading


class _Jwt:
    async def jwt_svid(self, *_: object) -> str:
        raise Unreachable("Unreachable", "away")


def agent_protocol(data: bytes) -> None:
    """Requests on agent.sock."""

    async def serve() -> None:
        handler = AgentProtocol(await _current(), HeldLists(Source())).handler()
        connection = HttpConnection(handler, BoundedLog(get_logger("fuzz")))
        await _served(connection, data)

    _run(serve())


def workload_api(data: bytes) -> None:
    """What follows HTTP/2's preface on workload.sock."""

    async def serve() -> None:
        current = await _current()
        jwt = JwtProfile(current, JwtSvids(_Jwt(), now=Clock(NOW), clock=lambda: 0.0))
        envoy = SecretDiscovery(current, lambda: None)
        methods = X509Profile(current).methods() | jwt.methods() | envoy.methods()
        await _served(GrpcServer(methods).connection(), _preface() + data)

    _run(serve())


def agent_protocol_seeds() -> list[bytes]:
    chain = _WEB.blessing.to_pem().replace("\n", "\\n")
    bodies = {
        "POST /v1/verify": f'{{"chain":"{chain}","method":"Get","discharges":[]}}',
        "PUT /v1/blessings/acme:db": f'{{"chain":"{chain}","discharges":[]}}',
        "POST /v1/bless": '{"publicKey":"","extension":"x","lifetimeSeconds":1,"caveats":[]}',
        "POST /v1/sign": '{"message":"YWJj"}',
    }
    asked = [
        f"{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        for line, body in bodies.items()
    ]
    paths = ("names", "blessings", "blessings/acme:db", "crl/acme:prod:shop:web", "watch?after=1")
    asked += [f"GET /v1/{path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths]
    asked += [asked[3] + asked[4], "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"]
    return [one.encode() for one in asked]


def workload_api_seeds() -> list[bytes]:
    calls = {
        "/SpiffeWorkloadAPI/FetchX509SVID": b"",
        "/SpiffeWorkloadAPI/FetchJWTSVID": b"\n\x02db",
        "/SpiffeWorkloadAPI/ValidateJWTSVID": b"\n\x02db\x12\x05a.b.c",
        "/SpiffeWorkloadAPI/FetchWITSVID": b"",
        "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets": b"\x1a\x06ROOTCA",
    }
    return [_call(path, message) for path, message in calls.items()]


def _call(path: str, message: bytes) -> bytes:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.data_to_send()
    headers = {":method": "POST", ":path": path, ":scheme": "http", ":authority": "a"}
    more: Mapping[str, str] = {
        "te": "trailers",
        "content-type": "application/grpc",
        "workload.spiffe.io": "true",
    }
    client.send_headers(1, [*headers.items(), *more.items()])
    client.send_data(1, b"\x00" + len(message).to_bytes(4, "big") + message, end_stream=True)
    return client.data_to_send()


def _preface() -> bytes:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    return client.data_to_send()


async def _current() -> CurrentIdentity:
    current = CurrentIdentity(Clock(NOW))
    name = _WEB.blessing.presented
    await current.set(Identity(1, _WEB.replica, _WEB.blessing, name, _WEB.roots, NOW + HOUR / 2))
    return current


async def _served(connection: Served, data: bytes) -> None:
    """A client that sends this, waits for an answer, and leaves."""
    transport = _Transport()
    connection.connection_made(cast(Any, transport))
    connection.data_received(data)
    for _ in range(_WAITS):
        await asyncio.sleep(0)
    connection.connection_lost(None)
    for _ in range(_WAITS):
        await asyncio.sleep(0)


@cache
def _runner() -> asyncio.Runner:
    """One for all runs: it takes longer to make than a run."""
    return asyncio.Runner()


def _run(serving: Coroutine[Any, Any, None]) -> None:
    """An error in a task, or in the log, is one here."""
    failed: list[Any] = []
    _runner().get_loop().set_exception_handler(lambda _, context: failed.append(context))
    with captured_lines() as lines:
        _runner().run(serving)
    assert failed == []
    assert [line for line in lines if "exc_info" in line] == []
