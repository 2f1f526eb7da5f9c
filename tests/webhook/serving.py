"""A running webhook for tests: the program itself, over TLS, with a throwaway certificate."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from tests.waiting import PATIENCE_SECONDS

_LISTENING = re.compile(r"running on https://(?:127\.0\.0\.1|\[::\]):(\d+)")


def certificate(
    lifetime: datetime.timedelta = datetime.timedelta(hours=1),
    key: CertificateIssuerPrivateKeyTypes | None = None,
) -> tuple[bytes, bytes]:
    """A self-signed certificate for 127.0.0.1, and its key (by default a new one on P-256), in PEM."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "webhook of a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + lifetime)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def replace(path: Path, content: bytes) -> None:
    """Puts another file in the place of `path` at once, as the kubelet does with a mounted Secret."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


@dataclass
class RunningWebhook:
    """The program, its files, and what it has logged so far."""

    port: int
    chain_file: Path
    key_file: Path
    pid: int
    lines: list[dict[str, Any]] = field(default_factory=list)
    logged: threading.Condition = field(default_factory=threading.Condition)

    def client(self, address: str = "127.0.0.1") -> httpx.Client:
        """A client at `address` that trusts the certificate in use, and nothing else."""
        trust = ssl.create_default_context(cafile=str(self.chain_file))
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            transport=httpx.HTTPTransport(verify=trust, local_address=address),
            timeout=PATIENCE_SECONDS,
        )

    def wait_for(self, event: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The `count`-th line of the log with this event and these fields, when it comes."""
        wanted = {"event": event, **fields}.items()

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if all(line.get(key) == value for key, value in wanted)]

        with self.logged:
            assert self.logged.wait_for(lambda: len(found()) >= count, timeout=PATIENCE_SECONDS), (
                event,
                self.lines,
            )
            return found()[count - 1]

    def served_certificate(self) -> bytes:
        """The certificate, in PEM, that a new connection is served with."""
        return ssl.get_server_certificate(("127.0.0.1", self.port)).encode()


@contextmanager
def running_webhook(directory: Path, *arguments: str, host: str = "127.0.0.1") -> Iterator[RunningWebhook]:
    """Starts the program on a free port, and stops it as Kubernetes would; it has to end by itself."""
    chain_file, key_file = directory / "tls.crt", directory / "tls.key"
    chain, key = certificate()
    chain_file.write_bytes(chain)
    key_file.write_bytes(key)
    command = [
        *(sys.executable, "-m", "webhook", "--host", host, "--port", "0"),
        *("--pod-agent-image", "registry.example/pod-agent:1"),
        *("--reconcile", "false", "--tls-certificate-file", str(chain_file), "--tls-key-file", str(key_file)),
        *arguments,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VANADIUM_")}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    webhook = RunningWebhook(0, chain_file, key_file, process.pid)
    reader = threading.Thread(target=_read, args=(process, webhook))
    reader.start()
    try:
        with webhook.logged:
            assert webhook.logged.wait_for(lambda: webhook.port, timeout=PATIENCE_SECONDS), webhook.lines
        yield webhook
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0, webhook.lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


def _read(process: subprocess.Popen[str], webhook: RunningWebhook) -> None:
    assert process.stderr is not None
    for text in process.stderr:
        with webhook.logged:
            webhook.lines.append(json.loads(text))
            listening = _LISTENING.search(text)
            if listening:
                webhook.port = int(listening[1])
            webhook.logged.notify_all()
