"""`vkube identify` with real TLS servers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blessings import Authority, Blessing, Name, Principal, Roots, fingerprint
from blessings.tls import server_context
from tests.vkube.command import PLAIN, called, vkube
from tests.vkube.tls_servers import listening

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_credentials_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("V23_CREDENTIALS", raising=False)


@pytest.fixture(scope="module")
def root() -> Authority:
    return Authority.create_root(Name.parse("acme"), Principal.create(), now=datetime.now(UTC), lifetime=HOUR)


@pytest.fixture(scope="module")
def server(root: Authority) -> Iterator[tuple[str, Blessing]]:
    """A server that demands a client certificate."""
    principal = Principal.create()
    blessing = root.bless(principal.public_key, "shop:web", now=datetime.now(UTC), lifetime=HOUR)
    roots = Roots.of(root.certificate)
    context = server_context(principal, blessing, roots, client_certificate=ssl.CERT_REQUIRED)
    with listening(context) as address:
        yield address, blessing


def test_a_server_is_identified_by_a_root_in_a_file(
    server: tuple[str, Blessing], root: Authority, tmp_path: Path
) -> None:
    address, blessing = server
    (tmp_path / "ca.crt").write_text(Roots.of(root.certificate).to_pem())
    assert vkube("identify", address, "--ca", tmp_path / "ca.crt") == (
        "PRESENTED: acme:shop:web\n"
        "VALID:     [acme:shop:web]\n"
        f"PUBLICKEY: {fingerprint(blessing.public_key)}\n"
        f"EXPIRES:   {blessing.not_after.isoformat()}\n"
    )


def test_a_server_whose_root_is_unknown_is_shown_with_the_reason(
    server: tuple[str, Blessing], tmp_path: Path
) -> None:
    address, _ = server
    anonymous = called("identify", address)
    assert anonymous.code == 4
    assert "PRESENTED: acme:shop:web\nVALID:     []\n" in anonymous.stdout
    assert "No root is recognised: name --ca" in anonymous.stdout
    vkube("principal", "create", PLAIN, tmp_path / "mine", "other")
    known = called("identify", address, "--credentials", tmp_path / "mine")
    assert known.code == 4
    assert "REJECTED:  " in known.stdout
    assert "No root is recognised" not in known.stdout


def test_a_root_of_the_same_name_and_another_key_proves_nothing(
    server: tuple[str, Blessing], tmp_path: Path
) -> None:
    vkube("principal", "create", PLAIN, tmp_path / "root", "acme")
    address, _ = server
    # A root with the name of the server's, and another key: it is recognised by its key.
    ended = called("identify", address, "--credentials", tmp_path / "root")
    assert ended.code == 4
    assert "VALID:     []" in ended.stdout


def test_what_is_no_tls_server_and_what_is_no_address_is_told(tmp_path: Path) -> None:
    with listening(None) as address:
        assert f"{address} does not complete a TLS handshake" in vkube("identify", address, ends=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
        assert f"{closed} cannot be reached: Connection refused" in vkube("identify", closed, ends=3)
    for wrong in ("localhost", "localhost:x", "::1:80", "localhost:70000", "https://localhost:1"):
        assert "expected HOST:PORT" in vkube("identify", wrong, ends=2)
