"""Calls to an API server that misbehaves, which a real one cannot be made to do; the end-to-end tests call a
real one."""

from __future__ import annotations

import asyncio
import json
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from cluster_agent.attestation.token_review import TokenReviewAttestor
from cluster_agent.errors import Unavailable
from cluster_agent.kubernetes.api import ApiCallError, KubernetesApi, kubernetes_api
from cluster_agent.kubernetes.pods import KubernetesPods, PodList
from tests.waiting import PATIENCE_SECONDS
from tests.web_servers import Handler, answering

TOKEN = "the-agents-own-token"


@asynccontextmanager
async def api_at(url: str, directory: Path) -> AsyncIterator[KubernetesApi]:
    (directory / "token").write_text(f"{TOKEN}\n")
    async with kubernetes_api(url, ssl.create_default_context(), directory / "token") as api:
        yield api


@asynccontextmanager
async def api_of(handler: Handler, directory: Path, *, under: str = "") -> AsyncIterator[KubernetesApi]:
    async with answering(handler) as url, api_at(url + under, directory) as api:
        yield api


def watched(api: KubernetesApi, *, silent: float = 5, longest: float = 30) -> AsyncIterator[bytes]:
    return api.lines("/api/v1/pods", {"watch": "1"}, "a/b", silent_seconds=silent, longest_seconds=longest)


def whole_text(error: BaseException | None) -> str:
    """What a log could hold of an error and of those behind it, when it is logged by its representation."""
    return "" if error is None else f"{error} {error!r} {whole_text(error.__cause__)}"


async def test_the_token_is_read_anew_for_each_call(tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    async with api_of(answer, tmp_path) as api:
        await api.create("/apis/x", {})
        (tmp_path / "token").write_text("rotated")
        await api.create("/apis/x", {})
    assert seen == [f"Bearer {TOKEN}", "Bearer rotated"]


async def test_an_api_server_under_a_path_is_called_there(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path})

    async with api_of(answer, tmp_path, under="/clusters/one/") as api:
        assert await api.read("/api/v1/pods", {}, "application/json") == {"path": "/clusters/one/api/v1/pods"}


async def test_a_cluster_without_pods_is_listed(tmp_path: Path) -> None:
    """As the API server itself answers: null, not an empty list."""

    async def answer(_: web.Request) -> web.StreamResponse:
        listed = {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": None}
        return web.json_response(listed)

    async with api_of(answer, tmp_path) as api:
        assert await KubernetesPods(api).list() == PodList(frozenset(), "7")


async def test_attack_pods_of_any_size_are_listed_in_pages_of_few_megabytes(tmp_path: Path) -> None:
    limits: list[int] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        begin, limit = int(request.query.get("continue", "0")), int(request.query["limit"])
        limits.append(limit)
        end = min(begin + limit, 60)
        note = {"note": "n" * (256 << 10)}
        items = [{"metadata": {"uid": str(number), "annotations": note}} for number in range(begin, end)]
        metadata = {"resourceVersion": "7", "continue": str(end) if end < 60 else ""}
        return web.json_response({"metadata": metadata, "items": items})

    async with api_of(answer, tmp_path) as api:
        listed = await KubernetesPods(api).list()
    assert listed == PodList(frozenset(map(str, range(60))), "7")
    assert limits[:5] == [500, 62, 7, 14, 28]


@pytest.mark.parametrize("status", [302, 307, 401, 403, 500])
async def test_a_refused_call_says_which_and_why_and_never_the_token(tmp_path: Path, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"echo": request.headers["Authorization"]}, status=status)

    async with api_of(answer, tmp_path) as api:
        with pytest.raises(ApiCallError, match=rf"^POST /apis/x: HTTP {status}$") as caught:
            await api.create("/apis/x", {})
    assert TOKEN not in whole_text(caught.value)


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '{"a":'])
async def test_an_answer_that_is_no_object_is_none(tmp_path: Path, body: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    async with api_of(answer, tmp_path) as api:
        with pytest.raises(ApiCallError, match=r"^POST /apis/x: ") as caught:
            await api.create("/apis/x", {})
    assert TOKEN not in whole_text(caught.value)


async def test_attack_a_redirect_does_not_get_the_token(tmp_path: Path) -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({"status": {"authenticated": True}})

    async with answering(elsewhere) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(f"{other}/apis/x")

        async with api_of(answer, tmp_path) as api:
            with pytest.raises(ApiCallError, match="HTTP 307"):
                await api.create("/apis/x", {})
    assert asked == []


async def test_a_server_that_ends_the_connection_leaves_the_token_unreviewed(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with api_of(answer, tmp_path) as api:
        with pytest.raises(
            Unavailable, match=r"did not review the token: POST /apis/authentication"
        ) as caught:
            await TokenReviewAttestor(api, "audience").attest("the token of a pod")
    assert TOKEN not in whole_text(caught.value)
    assert "the token of a pod" not in whole_text(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"%s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: %s" + b"x" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: a/b; charset=hex\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20_000,
    ],
    ids=["status line", "long header", "length", "cut short", "charset", "nested"],
)
async def test_an_answer_that_is_no_http_or_no_json_does_not_bring_the_token_into_an_error(
    tmp_path: Path, answer: bytes
) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        (authorization,) = [line for line in asked.split(b"\r\n") if line.startswith(b"Authorization")]
        writer.write(answer.replace(b"%s", authorization))
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        url = "http://{}:{}".format(*server.sockets[0].getsockname())
        async with api_at(url, tmp_path) as api:
            with pytest.raises(ApiCallError, match=r"^POST /apis/x: ") as caught:
                await api.create("/apis/x", {})
    assert TOKEN not in whole_text(caught.value)


class _ClosesAfterAnAnswer(socketserver.StreamRequestHandler):
    """In a thread of its own, so that it goes on while the client's loop does not."""

    def handle(self) -> None:
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.rfile.read(2)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


class _ClosingServer(socketserver.ThreadingTCPServer):
    """Counts in `closed` the connections that it has closed."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ClosesAfterAnAnswer)
        self.closed = threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


@contextmanager
def closing_server() -> Iterator[tuple[_ClosingServer, str]]:
    with _ClosingServer() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, "http://{}:{}".format(*server.server_address)
        finally:
            server.shutdown()
            thread.join()


async def test_a_kept_connection_that_was_closed_while_the_program_was_busy_is_no_failure(
    tmp_path: Path,
) -> None:
    with closing_server() as (server, url):
        async with api_at(url, tmp_path) as api:
            for _ in range(5):
                assert await api.create("/apis/x", {}) == {}
                # The loop, and so the client, does not run meanwhile.
                assert server.closed.acquire(timeout=PATIENCE_SECONDS)


async def test_a_token_file_that_is_gone_is_an_error_of_the_call(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async with api_of(answer, tmp_path) as api:
        (tmp_path / "token").unlink()
        with pytest.raises(ApiCallError, match="FileNotFoundError"):
            await api.create("/apis/x", {})


async def test_lines_may_be_as_long_as_an_object_of_etcd(tmp_path: Path) -> None:
    lines = [json.dumps({"object": "x" * 1_600_000}).encode() + b"\n", b'{"type":"BOOKMARK"}\n']

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"".join(lines))

    async with api_of(answer, tmp_path) as api:
        assert [line async for line in watched(api)] == lines


async def test_a_watch_that_is_silent_for_too_long_ends(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{}\n")
        await over.wait()
        return response

    async with api_of(answer, tmp_path) as api:
        lines = watched(api, silent=2)
        assert await anext(lines) == b"{}\n"
        with pytest.raises(ApiCallError, match="Timeout"):
            await anext(lines)
        over.set()


async def test_a_watch_whose_server_never_ends_it_ends_after_the_longest_time(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    async with api_of(answer, tmp_path) as api:
        with pytest.raises(ApiCallError, match="Timeout"):
            await anext(watched(api, longest=0.5))


async def test_the_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def proxied(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Host"])
        return web.json_response({})

    async with answering(proxied) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        async with api_at("http://api.example", tmp_path) as api:
            await api.create("/apis/x", {})
    assert asked == ["api.example"]


async def test_the_password_of_a_proxy_is_in_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def proxied(request: web.Request) -> web.StreamResponse:
        return web.Response(status=407)

    async with answering(proxied) as proxy:
        address = proxy.removeprefix("http://")
        for named in (f"http://user:password-of-it@{address}", "http://user:password-of-it@host:bad"):
            monkeypatch.setenv("http_proxy", named)
            async with api_at("http://api.example", tmp_path) as api:
                with pytest.raises(ApiCallError) as caught:
                    await api.create("/a", {})
            assert "password-of-it" not in whole_text(caught.value)
