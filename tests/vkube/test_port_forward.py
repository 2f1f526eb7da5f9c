"""The Unix socket of a forwarded port: each connection has its own way, and nothing is left at the end."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.waiting import PATIENCE_SECONDS
from vkube.connection.port_forward import forwarded
from vkube.errors import ClusterError


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The far ends of the WebSockets, each of which sends back what it gets."""
    opened: list[socket.socket] = []

    def echo(end: socket.socket) -> None:
        with end:
            while content := end.recv(100):
                end.sendall(content)

    class Way:
        def __init__(self) -> None:
            self._near, far = socket.socketpair()
            opened.append(far)
            threading.Thread(target=echo, args=(far,), daemon=True).start()

        def socket(self, _: int) -> socket.socket:
            return self._near

    monkeypatch.setattr("kubernetes.stream.portforward", lambda *_, **__: Way())
    return opened


def said_back(path: Path, text: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(100), b""))


def test_each_connection_has_a_way_of_its_own_and_all_end_with_the_block(ways: list[socket.socket]) -> None:
    api = client.ApiClient(client.Configuration())
    before = set(threading.enumerate())
    with forwarded(api, "vanadium-system", "cluster-agent-1", 8193) as path:
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert said_back(path, b"one") == b"one"
        assert said_back(path, b"two") == b"two"
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(path))
        waiting.sendall(b"three")
        assert waiting.recv(100) == b"three"
    assert waiting.recv(100) == b""
    waiting.close()
    assert len(ways) == 3
    assert not path.exists()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_a_forwarding_that_is_refused_is_told_with_the_right_that_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise client.ApiException(status=0, reason="Handshake status 403 Forbidden")

    monkeypatch.setattr("kubernetes.stream.portforward", refused)
    api = client.ApiClient(client.Configuration())
    with (
        pytest.raises(ClusterError, match=r"403 Forbidden\. You need the right to create pods/portforward"),
        forwarded(api, "vanadium-system", "cluster-agent-1", 8193),
    ):
        pass
