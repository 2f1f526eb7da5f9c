"""The program over real TLS: what it answers, logs and counts (checklist 5, 15, 19, 20, 21)."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from service.bounded_log import AT_ONCE, PER_SECOND
from tests.pods import container, pod, review
from tests.waiting import PATIENCE_SECONDS
from tests.webhook.applying import patch_of
from tests.webhook.serving import RunningWebhook, certificate, replace, running_webhook

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWebhook]:
    with running_webhook(tmp_path_factory.mktemp("tls"), "--tls-poll-seconds", "0.05") as running:
        yield running


@pytest.fixture
def client(webhook: RunningWebhook) -> Iterator[httpx.Client]:
    with webhook.client() as made:
        yield made


@contextmanager
def connected(webhook: RunningWebhook, trust: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", webhook.port)) as plain,
        trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        yield secure


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_review_is_answered_with_a_patch(client: httpx.Client, version: str) -> None:
    answer = client.post("/mutate?timeout=5s", json=review(pod(), version=version))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert patch_of(answer.json())[-1]["path"] == "/spec/initContainers"


def test_a_refusal_is_http_200(client: httpx.Client) -> None:
    answer = client.post("/mutate", json=review(pod(container("vanadium-pod-agent"))))
    assert answer.status_code == 200
    assert answer.json()["response"]["allowed"] is False


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"", JSON, 400, "InvalidJSON"),
        (b"{", JSON, 400, "InvalidJSON"),
        (json.dumps(review(pod())).encode()[:-20], JSON, 400, "InvalidJSON"),
        (b"not json", JSON, 400, "InvalidJSON"),
        (b'{"a": NaN}', JSON, 400, "InvalidJSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", JSON, 400, "InvalidJSON"),
        (b"\xff\xfe{}", JSON, 400, "InvalidJSON"),
        (b"[" * 100_000, JSON, 400, "TooDeeplyNested"),
        (b"[" * 1_000_000, JSON, 400, "TooManyValues"),
        (b'{"a":' * 100_000, JSON, 400, "TooDeeplyNested"),
        (b"{}", JSON, 400, "MalformedReview"),
        (b"null", JSON, 400, "MalformedReview"),
        (b"{}", {}, 415, "UnsupportedMediaType"),
        (b"{}", {"content-type": "application/yaml"}, 415, "UnsupportedMediaType"),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 415, "UnsupportedMediaType"),
        (b" " * (3 * 1024 * 1024 + 1), JSON, 413, "BodyTooLarge"),
    ],
)
def test_what_is_no_review_gets_a_4xx_with_its_reason_and_the_next_call_is_served(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    answer = client.post("/mutate", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["reason"] == reason
    assert answer.json()["error"]["message"]
    assert client.post("/mutate", json=review(pod())).status_code == 200


def test_a_body_of_unannounced_length_is_cut_off_at_the_limit(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 65536

    answer = client.post("/mutate", content=endless(), headers=JSON)
    assert answer.status_code == 413


def test_a_large_pod_within_the_limit_is_served(client: httpx.Client) -> None:
    subject = pod(annotations={"big": "x" * (3 * 1024 * 1024 - 4096)})
    assert patch_of(client.post("/mutate", json=review(subject)).json())


def test_a_connection_that_ends_within_the_body_harms_nobody(
    webhook: RunningWebhook, client: httpx.Client
) -> None:
    trust = ssl.create_default_context(cafile=str(webhook.chain_file))
    head = [
        "POST /mutate HTTP/1.1",
        "host: x",
        "content-type: application/json",
        "content-length: 99",
        "",
        "{",
    ]
    with connected(webhook, trust) as secure:
        secure.sendall("\r\n".join(head).encode())
    webhook.wait_for("bad request", reason="BodyTruncated")
    assert client.post("/mutate", json=review(pod())).status_code == 200
    assert not [line for line in webhook.lines if "Traceback" in json.dumps(line)]


def test_an_odd_uid_is_echoed_as_it_came(client: httpx.Client) -> None:
    body = json.dumps(review(pod(), uid="UID")).replace('"UID"', r'"\ud800 \u0000 é"')
    answer = client.post("/mutate", content=body.encode(), headers=JSON)
    assert answer.json()["response"]["uid"] == "\ud800 \0 é"


def test_each_admission_is_one_line_of_the_log(webhook: RunningWebhook, client: httpx.Client) -> None:
    client.post(
        "/mutate", json=review(pod(generate_name="web-"), uid="logged", namespace="shop", dry_run=True)
    )
    line = dict(webhook.wait_for("admission", uid="logged"))
    milliseconds = line.pop("milliseconds")
    assert milliseconds > 0
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "admission",
        "level": "info",
        "logger": "webhook",
        "uid": "logged",
        "namespace": "shop",
        "name": "",
        "generateName": "web-",
        "reason": "Injected",
        "message": "",
        "allowed": True,
        "operations": 4,
        "dryRun": True,
    }


def test_attack_malformed_requests_do_not_fill_the_log(webhook: RunningWebhook, client: httpx.Client) -> None:
    def counts() -> Counter[str]:
        """How many lines there are of bad requests, by their reason."""
        uid = f"line {len(webhook.lines)}"
        client.post("/mutate", json=review(pod(), uid=uid))
        webhook.wait_for("admission", uid=uid)
        return Counter(line["reason"] for line in webhook.lines if line["event"] == "bad request")

    trust = ssl.create_default_context(cafile=str(webhook.chain_file))
    before, began = counts(), time.monotonic()
    for _ in range(100):
        assert client.post("/mutate", content=b"{", headers=JSON).status_code == 400
        with connected(webhook, trust) as secure:
            secure.sendall(b"nonsense\r\n\r\n")
            assert secure.recv(100).startswith(b"HTTP/1.1 400")
    most = AT_ONCE + PER_SECOND * (time.monotonic() - began) + 1
    after = counts()
    for reason in ("InvalidJSON", "InvalidHTTP"):
        assert 0 < after[reason] - before[reason] <= most


def test_admissions_go_on_while_nobody_reads_the_log(webhook: RunningWebhook, client: httpx.Client) -> None:
    """As behind a container runtime that hangs. The pipe holds 64 KiB, some 200 of these lines."""
    with webhook.logged:  # the reader of the log waits for it
        for number in range(500):
            assert client.post("/mutate", json=review(pod(), uid=f"unread {number}")).status_code == 200
    webhook.wait_for("admission", uid="unread 499")
    uids = [line["uid"] for line in webhook.lines if line.get("uid", "").startswith("unread ")]
    assert uids == [f"unread {number}" for number in range(500)]
    assert "\nvanadium_webhook_log_lines_lost_total 0.0\n" in client.get("/metrics").text


def test_every_outcome_is_counted_by_its_reason(client: httpx.Client) -> None:
    def count(reason: str) -> float:
        text = client.get("/metrics").text
        name = f'vanadium_webhook_admissions_total{{dry_run="false",reason="{reason}"}} '
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        return float(line.rpartition(" ")[2])

    calls = {
        "Injected": review(pod()),
        "DisabledByLabel": review(pod(labels={"vanadium.io/inject": "disabled"})),
        "InvalidAnnotation": review(pod(annotations={"vanadium.io/ttl": "soon"})),
        "MalformedReview": {},
    }
    before = {reason: count(reason) for reason in calls}
    for body in calls.values():
        client.post("/mutate", json=body)
    assert {reason: count(reason) - before[reason] for reason in calls} == dict.fromkeys(calls, 1.0)
    assert 'vanadium_webhook_admission_seconds_bucket{le="0.005"}' in client.get("/metrics").text


def test_the_kubelet_s_questions_are_answered(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_nothing_else_is_served(client: httpx.Client) -> None:
    for path in ("/", "/docs", "/openapi.json", "/redoc"):
        assert client.get(path).status_code == 404
    assert client.get("/mutate").status_code == 405


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(webhook: RunningWebhook, version: ssl.TLSVersion) -> None:
    trust = ssl.create_default_context(cafile=str(webhook.chain_file))
    trust.minimum_version = trust.maximum_version = version
    with connected(webhook, trust) as secure:
        assert secure.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_not_spoken(webhook: RunningWebhook) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(webhook.chain_file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)), connected(webhook, old):
        pass


def test_a_new_certificate_is_served_without_a_restart_and_open_connections_live_on(
    webhook: RunningWebhook,
) -> None:
    with webhook.client() as before:
        assert before.get("/healthz").status_code == 200
        loads = len([line for line in webhook.lines if line["event"] == "serving certificate loaded"])
        chain, key = certificate()
        # The key first: for a moment the two do not belong together, and the old pair has to stay.
        replace(webhook.key_file, key)
        webhook.wait_for("serving certificate not reloaded")
        assert webhook.served_certificate() != chain
        assert before.get("/healthz").status_code == 200
        replace(webhook.chain_file, chain)
        webhook.wait_for("serving certificate loaded", count=loads + 1)
        assert webhook.served_certificate() == chain
        assert before.get("/healthz").status_code == 200
    with webhook.client() as after:
        assert after.post("/mutate", json=review(pod())).status_code == 200


def test_without_a_usable_certificate_the_program_ends_and_says_which_file(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "webhook",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--pod-agent-image",
                "x",
            ),
            *(
                "--reconcile",
                "false",
                "--tls-certificate-file",
                str(tmp_path / "none.crt"),
                "--tls-key-file",
                str(tmp_path / "none.key"),
            ),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 3
    (line,) = map(json.loads, ended.stderr.splitlines())
    assert (line["level"], line["error"]) == ("critical", f"{tmp_path / 'none.crt'} is missing")
