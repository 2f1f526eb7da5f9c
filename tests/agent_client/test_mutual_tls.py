"""Mutual TLS by name, from real pod agents of a real cluster agent: blocking sockets, httpx, uvicorn and
aiohttp with contexts that are made once, through rotations."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from agent_client import AgentClient, AgentError
from agent_client.asgi import PeerNames
from agent_client.following_context import JudgedSocket
from agent_client.mutual_tls import MutualTLS
from blessings import SVIDS_ONLY, Name, Policy, PublicKey
from blessings.tls import require_peer_blessing
from tests.cluster_agents import RunningClusterAgent, running_cluster_agent
from tests.pod_agent.running import (
    TTL_SECONDS,
    RunningPodAgent,
    eventually,
    mount,
    running_pod_agent,
    short_directory,
)
from tests.waiting import PATIENCE_SECONDS, wait_for

WEB_1, WEB_2 = "acme:prod:shop:web:web-1", "acme:prod:shop:web:web-2"


@pytest.fixture(scope="module")
def cluster_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClusterAgent]:
    with running_cluster_agent(tmp_path_factory.mktemp("agent"), minimum_ttl_seconds=1) as agent:
        yield agent


@contextmanager
def pod(
    cluster_agent: RunningClusterAgent, name: str, policy: Policy = SVIDS_ONLY, **settings: object
) -> Iterator[MutualTLS]:
    """Mutual TLS as a program in that Pod has it."""
    with short_directory() as directory:
        mount(directory, cluster_agent, name)
        with running_pod_agent(directory, cluster_agent.url, **settings) as running:
            running.wait_until_blessed()
            with of(running, policy) as tls:
                yield tls


@contextmanager
def of(running: RunningPodAgent, policy: Policy = SVIDS_ONLY) -> Iterator[MutualTLS]:
    with (
        AgentClient(running.agent_socket, timeout_seconds=PATIENCE_SECONDS) as agent,
        MutualTLS(
            workload_socket=running.workload_socket, agent=agent, policy=policy, wait_seconds=PATIENCE_SECONDS
        ) as tls,
    ):
        yield tls


@pytest.fixture(scope="module")
def web_1(cluster_agent: RunningClusterAgent) -> Iterator[MutualTLS]:
    with pod(cluster_agent, "web-1") as tls:
        yield tls


@pytest.fixture(scope="module")
def web_2(cluster_agent: RunningClusterAgent) -> Iterator[MutualTLS]:
    with pod(cluster_agent, "web-2") as tls:
        yield tls


class Echo:
    """A blocking server that answers each caller with its name, and remembers why it refused others."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.listener.getsockname()
        self.refused: list[str] = []
        self._context = context
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    assert isinstance(connection, JudgedSocket)
                    connection.sendall(str(connection.peer_name).encode())
            except OSError as error:  # ssl.SSLError, or the client was faster to end the connection
                self.refused.append(str(error))
                plain.close()


@contextmanager
def echo(context: ssl.SSLContext) -> Iterator[Echo]:
    server = Echo(context)
    try:
        yield server
    finally:
        server.listener.close()


def call(address: tuple[str, int], context: ssl.SSLContext) -> tuple[str, str, int]:
    """Whom the server calls us, whom we take it for, and the serial number of its certificate."""
    with (
        socket.create_connection(address, PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain) as connection,
    ):
        assert isinstance(connection, JudgedSocket)
        if not (said := connection.recv(1000).decode()):
            raise ConnectionError("the server said nothing")
        return said, str(connection.peer_name), require_peer_blessing(connection).leaf.serial_number


def test_each_side_knows_the_other_by_name_and_without_patterns_they_are_of_one_application(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with echo(web_1.server()) as server:
        assert call(server.address, web_2.client())[:2] == (WEB_2, WEB_1)
        assert call(server.address, web_2.client("acme:prod:shop:web:web-1"))[:2] == (WEB_2, WEB_1)


def test_attack_a_peer_of_another_name_is_refused_before_any_data_by_the_client_and_by_the_server(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with echo(web_1.server("acme:prod:bank")) as server:
        with pytest.raises(
            ssl.SSLCertVerificationError, match=f"the peer is {WEB_1}, expected acme:prod:bank"
        ):
            call(server.address, web_2.client("acme:prod:bank"))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            call(server.address, web_2.client())
        eventually("the refusal", lambda: any(WEB_2 in reason for reason in server.refused))


@contextmanager
def http_server(context: ssl.SSLContext) -> Iterator[tuple[str, int]]:
    """Python's own server as its users put it behind TLS: the listening socket is wrapped once, and
    handshakes are left to the threads of the requests."""

    class Who(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = str(getattr(self.connection, "peer_name", "nobody")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_request(self, code: int | str = 0, size: int | str = 0) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # it would print each peer that is refused

    with Server(("127.0.0.1", 0), Who) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "127.0.0.1", server.server_port
        finally:
            server.shutdown()
            thread.join()


def get(url: str, context: ssl.SSLContext) -> str:
    with httpx.Client(verify=context) as client:
        return client.get(url).text


def test_attack_a_server_that_reads_without_a_handshake_of_its_own_reads_nothing_of_another_name(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with http_server(web_1.server()) as (host, port):
        assert get(f"https://{host}:{port}/", web_2.client()) == WEB_2
    with http_server(web_1.server("acme:prod:bank")) as (host, port), pytest.raises(httpx.TransportError):
        get(f"https://{host}:{port}/", web_2.client())


def test_attack_a_client_that_sends_without_a_handshake_of_its_own_sends_nothing_to_another_name(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with echo(web_1.server()) as server:
        ways: tuple[Callable[[ssl.SSLSocket], object], ...] = (
            lambda lazy: lazy.send(b"password"),
            lambda lazy: lazy.sendall(b"password"),
            lambda lazy: lazy.write(b"password"),
            lambda lazy: lazy.recv(1),
            lambda lazy: lazy.recv_into(bytearray(1)),
            lambda lazy: lazy.read(1),
        )
        for begin in ways:
            with (
                socket.create_connection(server.address) as plain,
                web_2.client("acme:prod:bank").wrap_socket(plain, do_handshake_on_connect=False) as lazy,
                pytest.raises(ssl.SSLCertVerificationError, match="expected acme:prod:bank"),
            ):
                begin(lazy)


def test_attack_a_connection_in_memory_gives_nothing_of_another_name_without_a_handshake(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    lazy = web_2.client("acme:prod:bank").wrap_bio(incoming, outgoing)
    with echo(web_1.server()) as server, socket.create_connection(server.address) as plain:
        with pytest.raises(ssl.SSLWantReadError):
            lazy.write(b"password")
        plain.sendall(outgoing.read())
        incoming.write(plain.recv(65536))
        for _ in range(2):  # a refusal stays one
            with pytest.raises(ssl.SSLCertVerificationError, match="expected acme:prod:bank"):
                lazy.read(1)


def test_attack_a_peer_of_a_name_that_is_not_expected_makes_nobody_ask_for_its_revocation_list(
    cluster_agent: RunningClusterAgent, web_2: MutualTLS
) -> None:
    asked: list[Name | None] = []

    class Source:
        def by_issuer(
            self, issuer: bytes, name: Name | None = None, key: PublicKey | None = None
        ) -> tuple[()]:
            asked.append(name)
            return ()

    with pod(cluster_agent, "web-4", replace(SVIDS_ONLY, revocation=Source())) as tls:
        with echo(tls.server("acme:prod:bank")) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                call(server.address, web_2.client())
            eventually("the refusal", lambda: any(WEB_2 in reason for reason in server.refused))
        assert asked == []
        with echo(tls.server("acme:prod:shop")) as server:
            call(server.address, web_2.client())
        assert asked != []


def test_attack_a_client_without_a_certificate_and_one_of_another_root_are_refused(web_1: MutualTLS) -> None:
    with echo(web_1.server()) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            socket.create_connection(server.address) as plain,
            context.wrap_socket(plain) as connection,
        ):
            connection.recv(1)


def test_a_library_that_looks_past_the_wrapping_has_no_identity_and_trusts_nobody(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with (
        echo(web_1.server()) as server,
        socket.create_connection(server.address) as plain,
        pytest.raises(ssl.SSLError),
    ):
        ssl.SSLContext.wrap_socket(web_2.client(), plain)


def test_contexts_made_once_follow_the_rotations_on_both_sides(cluster_agent: RunningClusterAgent) -> None:
    with (
        pod(cluster_agent, "web-1", ttl_seconds=TTL_SECONDS) as web_1,
        pod(cluster_agent, "web-2", ttl_seconds=TTL_SECONDS) as web_2,
        echo(web_1.server()) as server,
        http_server(web_1.server()) as listening,
    ):
        client = web_2.client()
        seen: dict[int, int] = {}
        by_listening: set[int] = set()

        def called() -> None:
            _, _, theirs = call(server.address, client)
            seen[theirs] = web_2.identity.blessing.leaf.serial_number
            with (
                socket.create_connection(listening, PATIENCE_SECONDS) as plain,
                client.wrap_socket(plain) as connection,
            ):
                by_listening.add(require_peer_blessing(connection).leaf.serial_number)

        def rotated() -> bool:
            end = min(one.identity.blessing.not_after for one in (web_1, web_2))
            try:
                called()
            except OSError:
                # Only where the machine was too slow to renew in time.
                if datetime.now(UTC) < end:
                    raise AssertionError(f"refused: {server.refused}") from None
            return len(seen) > 2 and len(set(seen.values())) > 1 and len(by_listening) > 2

        wait_for("rotations", rotated)


async def _who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(request.state.peer_name))


@contextmanager
def uvicorn_serving(tls: MutualTLS, allowed: str) -> Iterator[str]:
    config = uvicorn.Config(
        Starlette(routes=[Route("/", _who)]),
        ssl_context_factory=lambda *_: tls.server(allowed),
        http=PeerNames,
        log_level="error",
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        eventually("uvicorn", lambda: server.started)
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_httpx_calls_an_application_behind_uvicorn_which_knows_its_callers_name(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    with uvicorn_serving(web_1, "acme:prod:shop") as url:
        assert get(url, web_2.client("acme:prod:shop")) == WEB_2

        async def asynchronously() -> str:
            async with httpx.AsyncClient(verify=web_2.client()) as client:
                return (await client.get(url)).text

        assert asyncio.run(asynchronously()) == WEB_2
        with pytest.raises(httpx.ConnectError, match="expected acme:prod:bank"):
            get(url, web_2.client("acme:prod:bank"))
    with uvicorn_serving(web_1, "acme:prod:bank") as url, pytest.raises(httpx.TransportError):
        get(url, web_2.client())


async def test_aiohttp_calls_an_aiohttp_server_which_knows_its_callers_name(
    web_1: MutualTLS, web_2: MutualTLS
) -> None:
    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text=str(request.transport.get_extra_info("ssl_object").peer_name))

    app = web.Application()
    app.add_routes([web.get("/", who)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=web_1.server("acme:prod:shop"))
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}/"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=web_2.client())) as session,
        session.get(url) as answer,
    ):
        assert await answer.text() == WEB_2
    stranger = aiohttp.TCPConnector(ssl=web_2.client("acme:prod:bank"))
    async with aiohttp.ClientSession(connector=stranger) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url)
    await runner.cleanup()


def test_attack_a_revoked_peer_is_refused_with_its_name(
    cluster_agent: RunningClusterAgent, web_1: MutualTLS
) -> None:
    with pod(cluster_agent, "web-3") as revoked, echo(web_1.server()) as server:
        assert call(server.address, revoked.client())[0].endswith(":web-3")
        with cluster_agent.control_plane_client() as administrator:
            body = {"name": str(revoked.name)}
            administrator.post("/v1/revoke", json=body).raise_for_status()

        def refused() -> bool:
            with suppress(ssl.SSLError, ConnectionError):
                call(server.address, revoked.client())
            return any("evoked" in reason for reason in server.refused)

        eventually("the refusal", refused)


def test_a_process_that_was_forked_since_is_told_and_does_not_keep_an_identity_until_that_ends(
    web_1: MutualTLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(web_1.name) == WEB_1
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(AgentError, match="make it anew in each process"):
        web_1.server()


def test_without_a_pod_agent_it_says_that_no_blessing_came() -> None:
    with short_directory() as directory, AgentClient(directory / "agent.sock") as agent:
        missing = f"unix://{directory}/workload.sock"
        with pytest.raises(AgentError, match="no blessing from the Workload API"):
            MutualTLS(workload_socket=missing, agent=agent, wait_seconds=0.2)
