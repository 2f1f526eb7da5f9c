"""What a call of the cluster agent may bring, blocking and in an event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from blessings import Authority, Name, Principal, Roots
from service import cluster_agent_calls
from service.cluster_agent_calls import ClusterAgentAddress, call, mutual_tls, reach, server_only_tls
from service.cluster_agent_client import ClusterAgentClient
from service.errors import CallError, CallRefused, CallUnanswered, UnusableAnswer
from tests.cluster_agents import write_serving_files
from tests.waiting import until
from tests.web_servers import answering

PATHS: list[str] = []


def said(status: int, text: str, **headers: str) -> Callable[[], web.Response]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: web.Response(status=status, text=text, headers=headers)


ANSWERS = {
    "/v1/good": said(200, '{"is": "good"}'),
    "/v1/refused": said(403, '{"error": {"reason": "Forbidden", "message": "not you"}}'),
    "/v1/wait": said(429, '{"error": {"reason": "Slower"}}', retry_after="300"),
    "/v1/broken": said(502, "<html>", retry_after="soon"),
    "/v1/strange": said(400, '{"error": "no"}'),
    "/v1/list": said(200, "[]"),
    "/v1/deep": said(200, "[" * 100_000),
    "/v1/long": said(200, " " * 5000),
}


async def answer(request: web.Request) -> web.StreamResponse:
    PATHS.append(request.path)
    if request.path in ANSWERS:
        return ANSWERS[request.path]()
    if request.path == "/v1/trickle":
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, Roots]]:
    authority = write_serving_files(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    async with answering(answer, tls) as url:
        yield url, Roots.of(authority.certificate)


@pytest.fixture(params=["blocking", "in an event loop"])
async def asked(request: pytest.FixtureRequest, served: tuple[str, Roots]) -> Any:
    """Makes a call in one of the two ways."""
    url, roots = served
    address, context = ClusterAgentAddress(url, "localhost"), server_only_tls(roots)

    async def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if request.param != "blocking":
            return await call(address, context, "POST", path, body)
        with ClusterAgentClient(address, context) as client:
            return await asyncio.to_thread(client.call, "POST", path, body)

    return ask


async def test_an_answer_is_an_object(asked: Any) -> None:
    assert await asked("/v1/good", {"a": 1}) == {"is": "good"}


@pytest.mark.parametrize(
    ("path", "kind", "reason", "wait"),
    [
        ("/v1/refused", CallRefused, "Forbidden", None),
        ("/v1/wait", CallUnanswered, "Slower", 300.0),
        ("/v1/broken", CallUnanswered, "Http502", None),
        ("/v1/strange", CallRefused, "Http400", None),
        ("/v1/list", UnusableAnswer, "AnswerMalformed", None),
        ("/v1/deep", UnusableAnswer, "AnswerMalformed", None),
        ("/v1/ended", CallUnanswered, "ConnectionEnded", None),
    ],
)
async def test_what_else_may_come_has_a_kind_a_reason_and_the_call_that_it_is_of(
    asked: Any, path: str, kind: type[CallError], reason: str, wait: float | None
) -> None:
    with pytest.raises(
        CallError, match=rf"^POST https://localhost:\d+{path} \(trace [0-9a-f]{{32}}\): "
    ) as caught:
        await asked(path, {})
    assert type(caught.value) is kind
    assert (caught.value.reason, caught.value.retry_after_seconds) == (reason, wait)


async def test_attack_an_answer_is_bounded_in_seconds(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_agent_calls, "CALL_SECONDS", 0.3)
    with pytest.raises(CallUnanswered) as caught:
        await asked("/v1/trickle", {})
    assert caught.value.reason == "Unreachable"
    assert "TimeoutError" in str(caught.value)


async def test_attack_an_answer_is_bounded_in_bytes(served: tuple[str, Roots]) -> None:
    address = ClusterAgentAddress(served[0], "localhost")
    with pytest.raises(UnusableAnswer) as too_long:
        await call(address, server_only_tls(served[1]), "POST", "/v1/long", {}, longest_bytes=4999)
    assert too_long.value.reason == "AnswerTooLong"


async def test_a_slash_at_the_end_of_the_address_changes_nothing(served: tuple[str, Roots]) -> None:
    PATHS.clear()
    await call(
        ClusterAgentAddress(served[0] + "/", "localhost"), server_only_tls(served[1]), "GET", "/v1/good", {}
    )
    assert PATHS == ["/v1/good"]


async def test_attack_a_server_under_another_name_or_root_gets_nothing(
    served: tuple[str, Roots], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a proxy that the environment names."""
    url, roots = served
    principal = Principal.create()
    now = datetime.now(UTC)
    other = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=timedelta(days=1))
    blessing = other.bless(principal.public_key, "me", now=now, lifetime=timedelta(hours=1))
    others = Roots.of(other.certificate)
    PATHS.clear()
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    for name, context in (
        ("somebody.else", server_only_tls(roots)),
        ("somebody.else", mutual_tls(principal, blessing, roots)),
        ("localhost", server_only_tls(others)),
        ("localhost", mutual_tls(principal, blessing, others)),
    ):
        address = ClusterAgentAddress(url, name)
        with pytest.raises(CallUnanswered, match="CERTIFICATE_VERIFY_FAILED"):
            await call(address, context, "POST", "/v1/good", {"secret": "x"})
        with pytest.raises(CallUnanswered, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(ClusterAgentClient(address, context).call, "POST", "/v1/good", {})
    assert PATHS == []


def test_attack_without_roots_nobody_is_trusted() -> None:
    """Python's default context trusts the system's certificate authorities when it is given no others."""
    principal, now = Principal.create(), datetime.now(UTC)
    root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=timedelta(days=1))
    blessing = root.bless(principal.public_key, "me", now=now, lifetime=timedelta(hours=1))
    for context in (server_only_tls(Roots(())), mutual_tls(principal, blessing, Roots(()))):
        assert context.cert_store_stats()["x509_ca"] == 0
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_attack_an_address_without_tls_is_none() -> None:
    with pytest.raises(ValueError, match="expected https://"):
        ClusterAgentAddress("http://localhost:8193")


async def test_reaching_asks_nothing_and_states_whether_somebody_is_there() -> None:
    read: list[bytes] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as server:
        address = ClusterAgentAddress(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await reach(address)
        await until("the end of a connection", lambda: read == [b""])
    with pytest.raises(CallUnanswered) as caught:
        await reach(address)
    assert caught.value.reason == "Unreachable"
