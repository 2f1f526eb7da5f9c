"""A program in a container, by a WebSocket as an API server speaks it: channels of v5.channel.k8s.io."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pytest
from kubernetes import client

from vkube.connection.cluster import Cluster
from vkube.connection.execution import Container, execute
from vkube.errors import ClusterError, UnreachableError

CONTAINER = Container("vanadium-system", "cluster-agent-1", "cluster-agent")
STDIN, STDOUT, STDERR, STATUS = range(4)
SUCCESS = b'{"status": "Success"}'


class Server:
    """The far end of one connection: `request` is its first line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        lines = head_of(connection).decode().split("\r\n")
        self.request = lines[0]
        (key,) = [line.split(": ")[1] for line in lines if line.lower().startswith("sec-websocket-key")]
        accept = base64.b64encode(
            hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324 - RFC 6455
        )
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def send(self, channel: int, content: bytes) -> None:
        payload = bytes([channel]) + content
        self._connection.sendall(b"\x82\x7f" + len(payload).to_bytes(8, "big") + payload)

    def close(self) -> None:
        self._connection.sendall(b"\x88\x00")
        with suppress(ConnectionError):
            self._connection.recv(100)

    def wait_until_closed(self) -> None:
        with suppress(ConnectionError):
            while self._connection.recv(100):
                pass

    def receive(self) -> bytes:
        """The content of one frame of standard input."""
        head = self._exactly(2)
        length = head[1] & 0x7F
        if length > 125:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        mask, masked = self._exactly(4), self._exactly(length)
        content = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        assert content[0] == STDIN
        return content[1:]

    def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            content += received(self._connection, size - len(content))
        return content


def received(connection: socket.socket, size: int) -> bytes:
    content = connection.recv(size)
    assert content, "the client ended the connection"
    return content


def head_of(connection: socket.socket) -> bytes:
    """The request, to its empty line: what is not read when a server ends the connection ends it abruptly."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += received(connection, 4096)
    return head


@contextmanager
def serving(answer: Callable[[Server], None]) -> Iterator[Cluster]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(Server(connection))

        thread = threading.Thread(target=serve)
        thread.start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield cast("Cluster", SimpleNamespace(api=client.ApiClient(configuration)))
        finally:
            thread.join()


def run(answer: Callable[[Server], None], **more: Any) -> bytes:
    printed = bytearray()
    with serving(answer) as cluster:
        execute(cluster, CONTAINER, ["python", "-c", "print('a b & c')"], stdout=printed.extend, **more)
    return bytes(printed)


def test_what_goes_in_and_what_comes_out_is_whole() -> None:
    asked: list[str] = []
    parts = [b"x" * 70_000, b"\x00\xff", b"end"]

    def echo(server: Server) -> None:
        asked.append(server.request)
        for _ in parts:
            server.send(STDOUT, server.receive())
        server.send(STATUS, SUCCESS)
        server.close()

    # Not closed sockets would be warnings, which are errors here.
    assert run(echo, stdin=parts) == b"".join(parts)
    url = urlsplit(asked[0].split()[1])
    assert url.path == "/api/v1/namespaces/vanadium-system/pods/cluster-agent-1/exec"
    given = parse_qsl(url.query)
    assert [value for name, value in given if name == "command"] == ["python", "-c", "print('a b & c')"]
    assert ("container", "cluster-agent") in given


def test_a_program_that_fails_is_an_error_with_its_own_complaint() -> None:
    def fail(server: Server) -> None:
        server.send(STDERR, b"nothing was restored: no space\n")
        causes = [{"reason": "ExitCode", "message": "1"}]
        status = {"status": "Failure", "message": "exit code 1", "details": {"causes": causes}}
        server.send(STATUS, json.dumps(status).encode())
        server.close()

    with pytest.raises(ClusterError, match=r"^nothing was restored: no space$"):
        run(fail)


@pytest.mark.parametrize("status", [None, b"", b"[1]", b"{"])
def test_an_end_without_a_status_is_no_success(status: bytes | None) -> None:
    def end(server: Server) -> None:
        server.send(STDOUT, b"half")
        if status is not None:
            server.send(STATUS, status)
        server.close()

    with pytest.raises(ClusterError, match=r"^container cluster-agent of pod vanadium-system/"):
        run(end)


def test_a_silent_container_and_a_broken_connection_are_no_end() -> None:
    with pytest.raises(UnreachableError, match=r"nothing came for 0\.1 s"):
        run(lambda server: server.wait_until_closed(), silent_seconds=0.1)
    with pytest.raises((UnreachableError, ClusterError)):
        run(lambda server: server.send(STDOUT, b"half"))


def test_a_refusal_names_the_right_that_is_needed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                head_of(connection)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")

        refusing = threading.Thread(target=refuse)
        refusing.start()
        configuration = client.Configuration(host=f"http://127.0.0.1:{listener.getsockname()[1]}")
        cluster = cast("Cluster", SimpleNamespace(api=client.ApiClient(configuration)))
        with pytest.raises(ClusterError, match=r"403 Forbidden.*right to create pods/exec there"):
            execute(cluster, CONTAINER, ["true"], stdout=bytearray().extend)
        refusing.join()
