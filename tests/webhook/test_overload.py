"""The program, whose callers hold what they can: the API server's calls go on, and memory stays bounded."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.pods import pod, review
from tests.waiting import wait_for
from tests.webhook.applying import patch_of
from tests.webhook.serving import RunningWebhook, running_webhook
from webhook.body import LIMIT
from webhook.shares import Most

API_SERVER = "127.0.0.2"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWebhook]:
    directory = tmp_path_factory.mktemp("overload")
    with running_webhook(directory, "--api-server-addresses", f"{API_SERVER}, 192.0.2.0/24") as running:
        yield running


def anonymous_bytes(webhook: RunningWebhook) -> int:
    text = Path(f"/proc/{webhook.pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB$", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def series(webhook: RunningWebhook, name: str) -> float:
    with webhook.client(API_SERVER) as client:
        (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def connect(webhook: RunningWebhook, stack: ExitStack, trust: ssl.SSLContext) -> ssl.SSLSocket:
    plain = stack.enter_context(socket.create_connection(("127.0.0.1", webhook.port)))
    return stack.enter_context(trust.wrap_socket(plain, server_hostname="127.0.0.1"))


def test_bodies_that_are_held_back_are_bounded_and_the_api_server_is_served(webhook: RunningWebhook) -> None:
    trust = ssl.create_default_context(cafile=str(webhook.chain_file))
    part = b" " * (LIMIT - 100_000)
    head = f"POST /mutate HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {LIMIT}\r\n\r\n"
    before = anonymous_bytes(webhook)
    with ExitStack() as stack:
        for _ in range(80):
            held = connect(webhook, stack, trust)
            with suppress(OSError):  # its own address holds most already
                held.sendall(head.encode() + part)
        assert series(webhook, "vanadium_webhook_held_bytes") <= Most.others_bytes
        assert anonymous_bytes(webhook) - before < Most.bytes + 24 * MIB
        with webhook.client(API_SERVER) as client:
            large = review(pod(annotations={"big": "x" * (LIMIT - 4096)}))
            for body in (review(pod()), large):
                assert patch_of(client.post("/mutate", json=body).json())
    wait_for("the end of those", lambda: series(webhook, "vanadium_webhook_held_bytes") == 0)


def test_connections_of_one_address_keep_out_no_other(webhook: RunningWebhook) -> None:
    with ExitStack() as stack:
        for _ in range(Most.others_connections + 50):
            stack.enter_context(socket.create_connection(("127.0.0.1", webhook.port)))
        wait_for(
            "those that are refused",
            lambda: series(webhook, 'vanadium_webhook_turned_away_total{limit="connections"}') >= 50,
        )
        for address in (API_SERVER, "127.0.0.3"):
            with webhook.client(address) as client:
                assert client.post("/mutate", json=review(pod())).status_code == 200
