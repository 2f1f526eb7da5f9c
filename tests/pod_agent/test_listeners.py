"""Connections and streams held open, and what is sent over them, cost the pod agent a bounded amount, and its
identity nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from resource import RLIMIT_NOFILE, prlimit
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from spiffe import WorkloadApiClient
from spiffe.workloadapi.errors import FetchX509SvidError

from pod_agent.grpc.server import MOST_STREAMS_OF_CONNECTION
from pod_agent.listener import BoundedListener, Served
from service.bounded_log import AT_ONCE, PER_SECOND
from service.supervisor import Supervisor
from tests.pod_agent.running import RunningPodAgent, eventually
from tests.waiting import PATIENCE_SECONDS, until, wait_for
from tests.workload_api import x509_svids

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("workload.spiffe.io", "true"),
]


def connected(running: RunningPodAgent, listener: str) -> socket.socket:
    if listener == "health":
        host, _, port = running.health_url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), PATIENCE_SECONDS)
    made = socket.socket(socket.AF_UNIX)
    # With a timeout, Python would not wait for a place in a full queue.
    made.connect(str(running.directory / f"{listener}.sock"))
    made.settimeout(PATIENCE_SECONDS)
    return made


@pytest.mark.parametrize("listener", ["agent", "workload", "health"])
def test_attack_idle_connections_stop_neither_clients_nor_probes_nor_renewal(
    renewing: RunningPodAgent, listener: str
) -> None:
    # Before, every accepted connection stayed: this many descriptors were gone soon.
    prlimit(renewing.process.pid, RLIMIT_NOFILE, (400, 400))
    with ExitStack() as held:
        for _ in range(600):
            held.enter_context(connected(renewing, listener))
        # Each of them again, where the machine was too slow to renew in time.
        eventually("readiness", lambda: renewing.get("/readyz").is_success)
        before = next(renewing.client().watch())
        after = next(renewing.client().watch(after=before.version))
        assert after.version > before.version
        with WorkloadApiClient(renewing.workload_socket) as workload:
            svid = wait_for("an SVID", workload.fetch_x509_svid, not_yet=(FetchX509SvidError,))
            assert str(svid.spiffe_id).endswith("/web-1")
    of_time = ("blessed", "no new blessing", "identity expired", "background task works again")
    assert len([line for line in renewing.lines() if line["event"] not in of_time]) < 50


async def test_a_full_listener_ends_what_is_idle_longest_of_the_address_with_most() -> None:
    busy: set[int] = set()
    lost: list[int] = []

    class Numbered(Served):
        made = 0

        def __init__(self) -> None:
            self.number = Numbered.made
            Numbered.made += 1

        @property
        def is_busy(self) -> bool:
            return self.number in busy

        def connection_lost(self, error: Exception | None) -> None:
            lost.append(self.number)

    listening = socket.create_server(("127.0.0.1", 0))
    listener = BoundedListener("connections", listening, 3, Numbered)
    async with Supervisor([listener.acceptor.task]).running(), AsyncExitStack() as held:

        async def connect(count: int) -> None:
            made = Numbered.made + count
            for _ in range(count):
                held.enter_context(socket.create_connection(listening.getsockname()))
            await until("connections", lambda: Numbered.made == made)

        await connect(3)
        busy.update({0, 2})
        await connect(1)
        await until("the idle one's end", lambda: lost == [1])
        busy.add(3)
        refused = held.enter_context(socket.create_connection(listening.getsockname()))
        await until("a refusal", lambda: listener.refused == 2)
        refused.settimeout(PATIENCE_SECONDS)
        assert await asyncio.to_thread(refused.recv, 1) == b""
        assert lost == [1]
    await until("the others' end", lambda: sorted(lost) == [0, 1, 2, 3])
    assert listener.open == 0
    await listener.stop()


def test_streams_beyond_the_limit_are_refused_at_once_and_do_not_hang(blessed: RunningPodAgent) -> None:
    with grpc.insecure_channel(blessed.workload_socket) as channel:
        most = MOST_STREAMS_OF_CONNECTION
        streams = [x509_svids(channel, timeout=PATIENCE_SECONDS) for _ in range(most + 30)]
        codes = [first_code(stream) for stream in streams]
        assert Counter(codes) == {"OK": most, "RESOURCE_EXHAUSTED": 30}
        streams[codes.index("OK")].cancel()
        eventually("a place", lambda: first_code(x509_svids(channel, timeout=PATIENCE_SECONDS)) == "OK")
        for stream in streams:
            stream.cancel()


def first_code(stream: Any) -> str:
    try:
        next(iter(stream))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


class RawClient:
    """HTTP/2 frames to workload.sock, as no client library would send them."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def call(self, headers: list[tuple[str, str]], *, end_stream: bool = False) -> int:
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=end_stream)
        self.flush()
        return stream

    def events(self) -> Iterator[h2.events.Event]:
        while received := self.socket.recv(65536):
            yield from self.h2.receive_data(received)
            self.flush()

    def send(self, stream: int, data: bytes) -> dict[str, str]:
        """Sends as flow control permits. Returns the headers of the answer; empty if the connection ended."""
        rest = memoryview(data)
        try:
            for event in self.events():
                if isinstance(event, h2.events.ResponseReceived):
                    return {str(name): str(value) for name, value in event.headers}
                with suppress(h2.exceptions.ProtocolError):  # the answer is a later event of the same bytes
                    rest = self._sent(stream, rest)
        except ConnectionError:
            pass
        return {}

    def _sent(self, stream: int, rest: memoryview) -> memoryview:
        while rest:
            window = self.h2.local_flow_control_window(stream)
            room = min(window, self.h2.max_outbound_frame_size, len(rest))
            if room <= 0:
                break
            self.h2.send_data(stream, bytes(rest[:room]))
            rest = rest[room:]
            self.flush()
        return rest


@contextmanager
def raw_client(running: RunningPodAgent) -> Iterator[RawClient]:
    with connected(running, "workload") as connection:
        yield RawClient(connection)


def test_attack_a_message_of_200_mib_is_refused_and_not_held(blessed: RunningPodAgent) -> None:
    before = blessed.resident_kilobytes()
    length = 200 << 20
    with raw_client(blessed) as client:
        stream = client.call(HEADERS)
        answer = client.send(stream, struct.pack(">BI", 0, length) + bytes(length))
    assert answer["grpc-status"] == str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert blessed.resident_kilobytes() < before + 20_000
    assert "Traceback" not in blessed.log()


@pytest.mark.parametrize(
    ("message", "code"),
    [(struct.pack(">BI", 1, 0), grpc.StatusCode.UNIMPLEMENTED), (b"\0\0", grpc.StatusCode.INVALID_ARGUMENT)],
)
def test_a_message_that_cannot_be_read_is_refused_without_a_traceback(
    blessed: RunningPodAgent, message: bytes, code: grpc.StatusCode
) -> None:
    with raw_client(blessed) as client:
        stream = client.call(HEADERS)
        client.h2.send_data(stream, message, end_stream=True)
        client.flush()
        assert client.send(stream, b"")["grpc-status"] == str(code.value[0])
    assert "Traceback" not in blessed.log()


@pytest.mark.parametrize("path", ["/SpiffeWorkloadAPI/FetchWITSVID", "/grpc.health.v1.Health/Check"])
def test_an_unknown_method_is_unimplemented_in_a_form_that_go_and_java_read(
    blessed: RunningPodAgent, path: str
) -> None:
    with raw_client(blessed) as client:
        headers = dict(HEADERS) | {":path": path}
        answer = client.send(client.call(list(headers.items()), end_stream=True), b"")
    # They take an answer without gRPC's content type for another program's, and its status for UNKNOWN.
    assert answer["content-type"].startswith("application/grpc")
    assert answer[":status"] == "200"
    assert answer["grpc-status"] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])


def test_attack_streams_reset_at_once_take_no_places(blessed: RunningPodAgent) -> None:
    with raw_client(blessed) as client:
        for _ in range(500):
            stream = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream, HEADERS)
            client.h2.reset_stream(stream)
        client.flush()

        def is_served() -> bool:
            stream = client.call(HEADERS)
            client.h2.send_data(stream, struct.pack(">BI", 0, 0), end_stream=True)
            client.flush()
            answer = client.send(stream, b"")
            return answer[":status"] == "200" and "grpc-status" not in answer

        eventually("a place", is_served)


def test_attack_malformed_requests_do_not_fill_the_log(blessed: RunningPodAgent) -> None:
    begun = time.monotonic()
    for _ in range(300):
        with connected(blessed, "health") as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 400")
    most = AT_ONCE + PER_SECOND * (time.monotonic() - begun) + 1
    assert len(blessed.lines()) < 50 + most
