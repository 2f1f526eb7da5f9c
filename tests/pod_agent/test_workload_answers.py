"""What an answer of the Workload API contains, and how it is sent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pod_agent.workload import bounds
from pod_agent.workload.bounds import framed, send
from tests.waiting import until

# In a process without the `spiffe` package, whose generated messages have the same names as ours.
FITTING = """
from pod_agent.workload.server import MOST_ANSWER_BYTES, bundles_response, svid_response
from tests.pod_agent.published_lists import identity, signed

small, large = signed(1, 7), signed(2, *range(1, 25_000))
assert 2 * len(large) > MOST_ANSWER_BYTES > len(large)
svids = svid_response(identity(), (small, large, large, small))
assert list(svids.crl) == [small, large, small]
assert svids.svids[0].spiffe_id == identity().name.spiffe_id
bundles = bundles_response(identity(), (large, large))
assert list(bundles.crl) == [large]
assert max(svids.ByteSize(), bundles.ByteSize()) <= MOST_ANSWER_BYTES
"""
SHARED = """
from pod_agent.workload.server import _Encoded, bundles_response, svid_response
from tests.pod_agent.published_lists import identity, signed

one, lists = identity(), (signed(1, 7),)
encoded = _Encoded(bundles_response)
first = encoded.of(one, lists)
assert encoded.of(one, lists) is first
assert encoded.of(identity(2), lists) is first, "the bundles did not change with the identity"
assert encoded.of(one, (signed(2, 8),)) != first
assert _Encoded(svid_response).of(identity(2), lists) != _Encoded(svid_response).of(one, lists)
"""


def test_lists_that_do_not_fit_are_left_out_and_the_identity_never_is() -> None:
    subprocess.run([sys.executable, "-c", FITTING], check=True)


def test_all_streams_share_the_bytes_of_an_answer_and_a_change_that_is_not_in_it_is_none() -> None:
    subprocess.run([sys.executable, "-c", SHARED], check=True)


class Sink:
    """A stream whose client takes as many bytes as its window has."""

    id = 1

    def __init__(self, window: int) -> None:
        self.window = window
        self.window_updated = asyncio.Event()
        self.sent: list[bytes] = []
        self.aborted = False
        self.connection = SimpleNamespace(write_ready=asyncio.Event(), flush=lambda: None)
        self.connection.write_ready.set()
        self._h2_connection = self
        self._transport = SimpleNamespace(abort=lambda: setattr(self, "aborted", True))
        self.max_outbound_frame_size = 16 * 1024

    def local_flow_control_window(self, _stream: int) -> int:
        return self.window

    def send_data(self, _stream: int, data: bytes) -> None:
        self.sent.append(data)
        self.window -= len(data)

    @property
    def stream(self) -> Any:
        return SimpleNamespace(_send_initial_metadata_done=True, _stream=self)


async def test_an_answer_is_sent_as_its_client_takes_it() -> None:
    sink, frame = Sink(20_000), framed(b"x" * 50_000)
    sending = asyncio.ensure_future(send(sink.stream, frame))
    await until("what the window takes", lambda: not sink.window)
    assert not sending.done()
    sink.window = 40_000
    sink.window_updated.set()
    await sending
    assert b"".join(sink.sent) == frame
    assert max(map(len, sink.sent)) <= sink.max_outbound_frame_size


async def test_attack_a_client_that_does_not_take_its_answer_loses_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "MOST_SENDING_SECONDS", 0)
    sink = Sink(0)
    with pytest.raises(GRPCError) as caught:
        await send(sink.stream, framed(b"x"))
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    assert sink.aborted


async def test_streams_that_waited_for_a_connection_do_not_all_write_at_once() -> None:
    """The connection would be ended, because too many bytes wait for its client."""
    ready = asyncio.Event()
    sinks = [Sink(10**6) for _ in range(100)]
    for one in sinks:
        one.connection.write_ready = ready
        one.connection.flush = ready.clear  # it is full after each part
    sending = [asyncio.ensure_future(send(one.stream, framed(b"x" * 10_000))) for one in sinks]
    for written in range(1, 101):
        ready.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert sum(len(one.sent) for one in sinks) == written
    await asyncio.gather(*sending)
