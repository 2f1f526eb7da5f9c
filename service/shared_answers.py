"""Answers of many bytes, such as a long revocation list: readers share the bytes, and slow ones make room.

Each reader holds only the part that is being sent. But a reader also keeps the content alive after a newer
one has replaced it, so readers are limited in number, in seconds, and in the bytes that they keep alive
together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service.addresses import network_of

PART_BYTES = 64 * 1024
# A reader may take so long, and one second more for each part. Where others wait, it has only the grace.
MOST_SECONDS = 60.0
GRACE_SECONDS = 5.0
_END = "vanadium.end_connection"

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Content = tuple[bytes, ...]


def ending(end: Callable[[], None]) -> dict[str, Any]:
    """The extension of a request's scope by which a reader that is too slow loses its connection."""
    return {_END: end}


@dataclass(frozen=True)
class ReaderLimits:
    """How many readers there may be, in all and from one address, and how many bytes they may keep alive."""

    most: int
    most_from_address: int
    most_kept_bytes: int


@dataclass(eq=False)
class _Reader:
    address: str
    content: Content
    since: float
    end: Callable[[], None]


class Readers:
    """The clients that read such answers now. `beyond` makes the error for one too many; `monotonic` is a
    clock in seconds."""

    def __init__(
        self,
        limits: ReaderLimits,
        beyond: Callable[[], Exception],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._beyond = beyond
        self._monotonic = monotonic
        # A dict, because it keeps the order: oldest first.
        self._reading: dict[_Reader, None] = {}

    def __len__(self) -> int:
        return len(self._reading)

    async def send(
        self,
        scope: Scope,
        send: Send,
        content: Content,
        parts: Iterable[bytes],
        headers: Mapping[str, str],
    ) -> None:
        """Answers 200 with `parts`, which are made of `content` one at a time. Raises `beyond`, before the
        answer begins."""
        client = scope.get("client")
        end: Callable[[], None] = scope.get("extensions", {}).get(_END, _nothing)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        with self.reading(network_of(str(client[0])) if client else "", content, end):
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextmanager
    def reading(self, address: str, content: Content, end: Callable[[], None]) -> Iterator[None]:
        """A reader of `content`, inside of the context. `end` ends its connection. Raises `beyond`."""
        size = sum(map(len, content))
        if size <= PART_BYTES:
            yield
            return
        reader = self.admit(address, content, end)
        deadline = asyncio.get_running_loop().call_later(MOST_SECONDS + size / PART_BYTES, end)
        try:
            yield
        finally:
            deadline.cancel()
            self.release(reader)

    def admit(self, address: str, content: Content, end: Callable[[], None]) -> _Reader:
        """A place for one more reader, until `release`. May end older ones. Raises `beyond`."""
        now = self._monotonic()
        while crowd := self._crowd(address, content):
            oldest = crowd[0]
            if now - oldest.since < GRACE_SECONDS:
                raise self._beyond()
            self.release(oldest)
            oldest.end()
        reader = _Reader(address, content, now, end)
        self._reading[reader] = None
        return reader

    def release(self, reader: _Reader) -> None:
        self._reading.pop(reader, None)

    def _crowd(self, address: str, content: Content) -> list[_Reader]:
        """The readers of whom one must make room for a further reader, oldest first; none when there is
        room."""
        of_address = [one for one in self._reading if one.address == address]
        if len(of_address) >= self._limits.most_from_address:
            return of_address
        if len(self._reading) >= self._limits.most:
            return list(self._reading)
        kept = {id(part): len(part) for one in self._reading for part in one.content}
        kept |= {id(part): len(part) for part in content}
        if sum(kept.values()) > self._limits.most_kept_bytes:
            return [one for one in self._reading if one.content != content]
        return []


def parts_of(content: bytes) -> Iterator[bytes]:
    """`content`, PART_BYTES at a time."""
    for begin in range(0, len(content), PART_BYTES):
        yield content[begin : begin + PART_BYTES]


def _nothing() -> None:
    pass
