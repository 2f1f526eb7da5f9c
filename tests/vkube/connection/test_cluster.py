"""Calls to an API server that has no time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client

from vkube.configuration import Configuration
from vkube.connection.cluster import SERVER_SIDE_APPLY, Cluster
from vkube.errors import BusyError, ClusterError

PATH = "/api/v1/namespaces/shop"
TIMEOUT = (
    504,
    {"reason": "Timeout", "message": "Timeout: request did not complete within the allotted timeout"},
)
SERVER_TIMEOUT = (500, {"reason": "ServerTimeout", "message": "The POST operation could not be completed"})
TOO_MANY = (429, {"reason": "TooManyRequests", "message": "too many requests, please try again later"})
FAULT = (500, {"reason": "InternalError", "message": "an error on the server"})
DONE = (200, {"kind": "Namespace"})
# The third is the header Retry-After.
Answer = tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], str]


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[Cluster, list[str]]]:
    """A cluster that gives these answers in turn, and the methods by which it was called."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body, *after = answers[len(called)]
            called.append(self.command)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for value in after:
                self.send_header("Retry-After", value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    settings.retries = False  # as vkube.connection.kubeconfig has it
    try:
        with Cluster(
            client.ApiClient(settings), Configuration(), namespace="shop", context="test"
        ) as cluster:
            cluster.pauses = (0, 0)
            yield cluster, called
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("busy", [TIMEOUT, SERVER_TIMEOUT, TOO_MANY], ids=["Timeout", "ServerTimeout", "429"])
def test_an_apply_for_which_the_api_server_had_no_time_is_repeated(
    busy: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(busy, busy, DONE) as (cluster, called):
        assert cluster.patch(PATH, {}, kind=SERVER_SIDE_APPLY) == DONE[1]
        assert called == ["PATCH"] * 3
    assert capsys.readouterr().err.splitlines()[0] == f"PATCH {PATH}: {busy[1]['message']}; again in 0.0 s"


def test_so_is_a_reading() -> None:
    with answering(TIMEOUT, DONE) as (cluster, called):
        assert cluster.get(PATH) == DONE[1]
        assert called == ["GET"] * 2


def test_it_is_repeated_a_few_times_only() -> None:
    with answering(*[TIMEOUT] * 3) as (cluster, called):
        with pytest.raises(BusyError, match="request did not complete"):
            cluster.get(PATH)
        assert called == ["GET"] * 3


def test_what_would_be_done_twice_or_has_another_reason_is_not_repeated() -> None:
    with answering(TIMEOUT, TOO_MANY, FAULT) as (cluster, called):
        with pytest.raises(BusyError):
            cluster.create(PATH, {})
        with pytest.raises(BusyError):
            cluster.delete(PATH)
        with pytest.raises(ClusterError, match="an error on the server"):
            cluster.get(PATH)
        assert called == ["POST", "DELETE", "GET"]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_the_pause_that_the_api_server_asks_for_is_kept(slept: list[float]) -> None:
    with answering((*TOO_MANY, "3"), (*TOO_MANY, "no number"), DONE) as (cluster, _):
        assert cluster.get(PATH) == DONE[1]
    first, second = slept
    assert 3 <= first <= 3.6
    assert second == 0


def test_clients_that_were_refused_together_do_not_come_again_together(slept: list[float]) -> None:
    with answering(*[(*TOO_MANY, "1")] * 9) as (cluster, _):
        cluster.pauses = (0,) * 8
        with pytest.raises(BusyError):
            cluster.get(PATH)
    assert len(set(slept)) > 1


def test_all_attempts_have_one_deadline(slept: list[float]) -> None:
    """Five attempts with 60 s each could take minutes."""
    with answering((*TOO_MANY, "61"), DONE) as (cluster, called):
        with pytest.raises(BusyError):
            cluster.get(PATH)
        assert (called, slept) == (["GET"], [])


def test_a_later_attempt_has_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering((*TOO_MANY, "1"), DONE) as (cluster, _):
        given: list[float] = []
        call = cluster.api.call_api

        def noted(*request: Any, **options: Any) -> Any:
            given.append(options["_request_timeout"][1])
            answer: Any = call(*request, **options)
            return answer

        monkeypatch.setattr(cluster.api, "call_api", noted)
        cluster.get(PATH)
    assert given[0] - given[1] >= 1


def test_what_the_api_server_says_does_not_reach_the_terminal_as_it_is(
    slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with answering((429, {"message": "too\x1b[2J many"}), DONE) as (cluster, _):
        cluster.get(PATH)
    assert "\x1b" not in capsys.readouterr().err
