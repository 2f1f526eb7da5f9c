"""Discharges fetched from a real HTTP server, and what is not fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from agent_client import DischargeFetcher, DischargeUnavailable
from blessings import (
    Call,
    DischargeCache,
    Discharges,
    Expiry,
    Policy,
    Principal,
    ThirdParty,
    discharge,
    verify_blessing,
)
from blessings.caveats.discharges import parse_request
from blessings.verification.policy import NO_CUSTOM_CAVEATS
from tests.chains import HOUR, NOW, realm

ONE = realm()
DISCHARGER = Principal.create()


def answer_discharge(body: bytes) -> tuple[int, bytes]:
    made = discharge(
        DISCHARGER,
        parse_request(body),
        now=NOW,
        call=Call(),
        registry=NO_CUSTOM_CAVEATS,
        discharges=Discharges(),
        caveats=[Expiry(NOW + HOUR)],
    )
    return 200, made.encode()


class Discharger:
    """A server whose answer is changed by each test; `asked` are the paths."""

    def __init__(self) -> None:
        self.answer: Callable[[bytes], tuple[int, bytes]] = answer_discharge
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.asked.append(self.path)
                status, content = outer.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                if status == 307:
                    self.send_header("Location", outer.url + "elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has above
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/"


@pytest.fixture
def discharger() -> Iterator[Discharger]:
    made = Discharger()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def fetch(discharger: Discharger) -> Iterator[DischargeFetcher]:
    with httpx.Client(timeout=60) as client:
        yield DischargeFetcher(client, [discharger.url])


def caveat(location: str) -> ThirdParty:
    return ThirdParty(DISCHARGER.public_key, location, bytes(16))


def test_a_blessing_is_used_with_a_discharge_fetched_once(
    discharger: Discharger, fetch: DischargeFetcher
) -> None:
    _, blessing = ONE.delegated("phone", caveats=[caveat(discharger.url + "discharge")])
    cache = DischargeCache(fetch)
    for _ in range(2):
        discharges = cache.discharges_for(blessing, now=NOW)
        name = verify_blessing(
            blessing, ONE.roots, now=NOW, policy=Policy(max_delegations=1), discharges=discharges
        )
    assert str(name) == "acme:prod:shop:web:web-1:phone"
    assert discharger.asked == ["/v1/discharge"]


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (403, b"", "answered 403"),
        (307, b"", "answered 307"),
        (200, b"{}", "no discharge"),
        (200, b"x" * 20_000, "more than"),
    ],
)
def test_an_answer_that_is_no_discharge_is_told(
    discharger: Discharger, fetch: DischargeFetcher, status: int, content: bytes, message: str
) -> None:
    discharger.answer = lambda _body: (status, content)
    with pytest.raises(DischargeUnavailable, match=message):
        fetch(caveat(discharger.url))
    assert discharger.asked == ["/v1/"]


@pytest.mark.parametrize(
    "location",
    [
        "{server}/",
        "{server}/v2/",
        "{server}/v1/../admin",
        "{server}/v1/%2e%2e/admin",
        "http://user@{host}/v1/",
        "https://{host}/v1/",
        "http://localhost/v1/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "unix:///run/vanadium/agent.sock",
        "/v1/",
        "http://[",
    ],
)
def test_attack_a_caveat_that_makes_its_holder_ask_another_server(
    discharger: Discharger, fetch: DischargeFetcher, location: str
) -> None:
    host = f"127.0.0.1:{discharger.server.server_port}"
    with pytest.raises(DischargeUnavailable):
        fetch(caveat(location.format(server=f"http://{host}", host=host)))
    assert discharger.asked == []


def test_a_discharger_that_is_away_is_told(discharger: Discharger, fetch: DischargeFetcher) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(), timeout=60) as client:
        absent = DischargeFetcher(client, ["http://127.0.0.1:9/"])
        with pytest.raises(DischargeUnavailable, match="no answer"):
            absent(caveat("http://127.0.0.1:9/"))


@pytest.mark.parametrize("url", ["discharger", "http://x/v1", "file:///x/", "http:///"])
def test_whom_it_may_ask_is_said_in_whole_urls(url: str) -> None:
    with httpx.Client() as client, pytest.raises(ValueError, match="ends with"):
        DischargeFetcher(client, [url])
