"""Revocation lists from the cluster agent's address, where an attacker in between may answer in its place."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent_client import AgentError, PublishedLists, published_lists
from tests.pod_agent.published_lists import REALM, signed
from tests.waiting import PATIENCE_SECONDS

NAME = REALM.application.name
LIST = signed(1, 5)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that answers so, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            with suppress(OSError):  # of a client that is gone
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def sends(lists: int | str, content: bytes = LIST) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers with an index of that many lists, or with that index; and with `content` for each list."""
    described = [{"key": f"{key:02}", "number": 1} for key in range(lists)] if isinstance(lists, int) else []
    index = lists if isinstance(lists, str) else json.dumps({"version": 1, "lists": described})

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(index.encode() if request.path.startswith("/v1/crl?") else content)

    return answer


def test_the_lists_are_those_of_the_index_and_are_fetched_when_it_changed() -> None:
    with answering(sends(2)) as (url, asked):
        lists = PublishedLists(url)
        found = lists.revocation_lists_since(NAME, None)
        assert found is not None
        assert [one.to_der() for one in found[1].entries] == [LIST, LIST]
        assert len(asked) == 3
        assert lists.revocation_lists_since(NAME, found[0]) is None
        assert len(asked) == 4


def test_a_caller_whose_event_loop_runs_gets_them_too() -> None:
    async def call(url: str) -> object:
        return PublishedLists(url).revocation_lists_since(NAME, None)

    with answering(sends(1)) as (url, _):
        assert asyncio.run(call(url)) is not None


def test_attack_an_index_of_very_many_lists_is_refused_before_any_is_fetched() -> None:
    with answering(sends(published_lists.MOST_LISTS + 1)) as (url, asked):
        with pytest.raises(AgentError, match="65 lists"):
            PublishedLists(url).revocation_lists_since(NAME, None)
        assert len(asked) == 1


def test_attack_the_lists_are_bounded_together_and_not_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_lists, "MOST_BYTES", 3 * len(LIST) - 1)
    with answering(sends(64)) as (url, asked):
        with pytest.raises(AgentError, match="more than"):
            PublishedLists(url).revocation_lists_since(NAME, None)
        assert len(asked) == 1 + 3


def test_attack_a_large_index_is_refused() -> None:
    index = json.dumps({"lists": [], "more": "x" * (2 << 20)})
    with answering(sends(index)) as (url, _), pytest.raises(AgentError, match="more than"):
        PublishedLists(url).revocation_lists_since(NAME, None)


@pytest.mark.parametrize("of_header", [True, False])
def test_attack_bytes_that_drip_end_with_the_time_for_all_of_them(of_header: bool) -> None:
    gone = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"X-Long: " if of_header else b"\r\n"))
        ends = time.monotonic() + PATIENCE_SECONDS
        while not gone.wait(0.1):
            if time.monotonic() > ends:
                request.wfile.write((b"\r\n\r\n" if of_header else b"") + b'{"lists": []}')
                return
            request.wfile.write(b" ")
            request.wfile.flush()

    with answering(drip) as (url, _):
        try:
            with pytest.raises(AgentError, match="cluster agent"):
                PublishedLists(url, timeout_seconds=0.5).revocation_lists_since(NAME, None)
        finally:
            gone.set()


@pytest.mark.parametrize(
    "index",
    [
        "[" * 100_000,
        '{"lists": [{"key": "a", "number": Infinity}]}',
        '{"lists": [{"key": "\\ud800", "number": 1}]}',
        json.dumps({"lists": [{"key": "k" * 100_000, "number": 1}]}),
        '{"lists": 5}',
        "[]",
    ],
    ids=["deep", "infinite", "no-unicode", "long-key", "no-list", "no-object"],
)
def test_attack_a_malformed_index_is_an_answer_that_is_none(index: str) -> None:
    with answering(sends(index)) as (url, _), pytest.raises(AgentError, match="cluster agent"):
        PublishedLists(url).revocation_lists_since(NAME, None)


def test_a_program_ends_while_a_question_is_under_way() -> None:
    program = """
import sys
from agent_client import PeerLists, PublishedLists, peer_lists
from blessings import Name, Principal

peer_lists.MOST_WAIT_SECONDS = 0.2
lists = PeerLists(PublishedLists(sys.argv[1], timeout_seconds=600), ask_every_seconds=15)
lists.by_issuer(b"", Name.parse("acme:web"), Principal.create().public_key)
"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        subprocess.run([sys.executable, "-c", program, url], check=True, timeout=PATIENCE_SECONDS)
