"""One gRPC call: the client's messages, and the answers to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

from pod_agent.errors import GrpcError
from pod_agent.grpc.status import Status

# The requests of the Workload API and of Envoy are names, an audience, a token, or a description of a node.
MOST_MESSAGE_BYTES = 64 * 1024
# So long may one of them take to arrive, after its length.
MOST_ARRIVING_SECONDS = 30.0
# A message up to this needs no room: each stream may hold one.
_SHORT_BYTES = 1024
_HEAD_BYTES = 5


class Carrier(Protocol):
    """Carries the bytes of calls."""

    def acknowledge(self, stream: int, size: int) -> None:
        """Lets the client send `size` bytes more."""

    async def send(self, stream: int, frame: bytes, *, first: bool) -> None:
        """Sends a framed message as the client takes it."""


class Room:
    """How many bytes of long messages may be held until they have arrived, by all calls of a server."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Raises GrpcError when there is no room."""
        if size > self._left:
            raise GrpcError(Status.RESOURCE_EXHAUSTED, "too many long messages arrive at once; try again")
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


class Call:
    """A call of one method. `metadata` contains the request's headers; of one that is repeated, the first."""

    __slots__ = ("_arrival", "_begun", "_carrier", "_ended", "_received", "_room", "_stream", "metadata")

    def __init__(self, carrier: Carrier, stream: int, metadata: Mapping[str, str], room: Room) -> None:
        self.metadata = metadata
        self._carrier = carrier
        self._stream = stream
        self._room = room
        self._received = bytearray()
        self._arrival: asyncio.Future[None] | None = None
        self._ended = False
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether an answer was sent."""
        return self._begun

    async def message(self) -> bytes | None:
        """The client's next message; None when it sends no more. Raises GrpcError for one that is cut,
        compressed or too long."""
        head = await self._take(_HEAD_BYTES)
        if not head:
            return None
        if head[0]:
            raise GrpcError(Status.UNIMPLEMENTED, "the message is compressed")
        if len(head) < _HEAD_BYTES:
            raise GrpcError(Status.INVALID_ARGUMENT, "the message ends too early")
        length = int.from_bytes(head[1:], "big")
        if length > MOST_MESSAGE_BYTES:
            raise GrpcError(
                Status.RESOURCE_EXHAUSTED, f"the message has more than {MOST_MESSAGE_BYTES} bytes"
            )
        return await self._long(length) if length > _SHORT_BYTES else await self._exactly(length)

    async def send(self, frame: bytes) -> None:
        """Sends a message that `framed` made. Raises GrpcError when the client does not take it in time."""
        first, self._begun = not self._begun, True
        await self._carrier.send(self._stream, frame, first=first)

    def feed(self, data: bytes, padding: int) -> None:
        """Takes what arrived from the client."""
        self._received += data
        self._carrier.acknowledge(self._stream, padding)
        self._wake()

    def feed_end(self) -> None:
        """The client sends no more."""
        self._ended = True
        self._wake()

    def drop(self) -> None:
        """Lets go of what the method did not read."""
        self._carrier.acknowledge(self._stream, len(self._received))
        self._received.clear()

    async def _long(self, length: int) -> bytes:
        self._room.take(length)
        try:
            async with asyncio.timeout(MOST_ARRIVING_SECONDS):
                return await self._exactly(length)
        except TimeoutError as error:
            raise GrpcError(Status.DEADLINE_EXCEEDED, "the message did not arrive in time") from error
        finally:
            self._room.give_back(length)

    async def _exactly(self, count: int) -> bytes:
        taken = await self._take(count)
        if len(taken) < count:
            raise GrpcError(Status.INVALID_ARGUMENT, "the message ends too early")
        return taken

    async def _take(self, count: int) -> bytes:
        """The next `count` bytes, or fewer if the client sends no more."""
        taken = bytearray()
        while len(taken) < count:
            part = self._received[: count - len(taken)]
            if part:
                del self._received[: len(part)]
                taken += part
                self._carrier.acknowledge(self._stream, len(part))
            elif self._ended:
                break
            else:
                self._arrival = asyncio.get_running_loop().create_future()
                await self._arrival
        return bytes(taken)

    def _wake(self) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None and not arrival.done():
            arrival.set_result(None)


Method: TypeAlias = Callable[[Call], Awaitable[None]]
"""Serves one call: returns when it is complete, or raises GrpcError."""


def framed(message: bytes) -> bytes:
    """An uncompressed message as gRPC sends it."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unary(answer: Callable[[bytes, Mapping[str, str]], Awaitable[bytes]]) -> Method:
    """The method that answers one message with one, by `answer(message, metadata)`."""

    async def method(call: Call) -> None:
        message = await call.message()
        if message is None:
            raise GrpcError(Status.INVALID_ARGUMENT, "there is no message")
        await call.send(framed(await answer(message, call.metadata)))

    return method
