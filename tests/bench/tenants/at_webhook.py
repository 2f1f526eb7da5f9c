"""A hostile tenant at the webhook. The normal one's caller is an API server, which waits 5 s."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import httpx

from tests.bench.tenants.measure import Hostility, Outcome, compare
from tests.pods import container, pod, review
from tests.webhook.serving import RunningWebhook, running_webhook

_API_SERVER_WAITS = 5.0
_CONNECTIONS, _BODY_BYTES = 80, 2_900_000


def held_bodies(directory: Path, seconds: float) -> Outcome:
    """Eighty connections each send most of a permitted body, and hold it; then again."""
    with running_webhook(directory) as webhook:
        context = ssl.create_default_context(cafile=str(webhook.chain_file))
        body = json.dumps(review(pod(container("web")), namespace="normal")).encode()
        headers = {"Content-Type": "application/json"}

        def admit(_number: int) -> None:
            url = f"https://127.0.0.1:{webhook.port}/mutate"
            with httpx.Client(verify=context, trust_env=False, timeout=_API_SERVER_WAITS) as client:
                answer = client.post(url, content=body, headers=headers).raise_for_status().json()
            if "patch" not in answer["response"]:
                raise AssertionError(f"not injected: {answer}")

        hostility = Hostility()
        for number in range(_CONNECTIONS):
            address = f"127.0.0.{2 + number % 8}"
            hostility.repeat(lambda address=address: _hold(webhook, context, address, hostility))  # type: ignore[misc]
        return compare("B.8 held bodies", admit, hostility, seconds, begun=5)


def _hold(webhook: RunningWebhook, context: ssl.SSLContext, address: str, hostility: Hostility) -> None:
    """Until the webhook ends it."""
    bare = socket.create_connection(("127.0.0.1", webhook.port), 10, source_address=(address, 0))
    with bare, context.wrap_socket(bare, server_hostname="127.0.0.1") as one:
        one.sendall(
            b"POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (_BODY_BYTES + 1)
        )
        one.sendall(b"[" + b"1," * (_BODY_BYTES // 2))
        one.settimeout(0.5)
        while not hostility.ended.is_set():
            try:
                one.recv(4096)
            except TimeoutError:
                continue
            return
