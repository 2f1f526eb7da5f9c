"""The program in a cluster of IPv4, of IPv6, and of both."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator

import pytest

from tests.pods import pod, review
from tests.waiting import PATIENCE_SECONDS
from tests.webhook.serving import RunningWebhook, running_webhook
from webhook.settings import Settings

pytestmark = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6")


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWebhook]:
    """A webhook that listens where it does by default."""
    host = Settings.model_fields["host"].default
    with running_webhook(tmp_path_factory.mktemp("families"), host=host) as running:
        yield running


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_api_server_of_either_family_is_answered(webhook: RunningWebhook, address: str) -> None:
    body = json.dumps(review(pod(), uid=address)).encode()
    head = f"POST /mutate HTTP/1.1\r\nhost: webhook\r\ncontent-length: {len(body)}\r\n"
    trust = ssl.create_default_context(cafile=str(webhook.chain_file))
    with (
        socket.create_connection((address, webhook.port), PATIENCE_SECONDS) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
        assert secure.recv(100).startswith(b"HTTP/1.1 200")
    webhook.wait_for("admission", uid=address)
