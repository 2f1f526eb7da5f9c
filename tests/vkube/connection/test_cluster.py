"""Calls to an API server that has no time."""

from __future__ import annotations

import json
import threading
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
Answer = tuple[int, dict[str, Any]]


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[Cluster, list[str]]]:
    """A cluster that gives these answers in turn, and the methods by which it was called."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = answers[len(called)]
            called.append(self.command)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PATCH = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
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
    assert capsys.readouterr().err.splitlines()[0] == f"PATCH {PATH}: {busy[1]['message']}; again in 0 s"


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
