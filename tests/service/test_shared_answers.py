"""Long answers: readers share the bytes, and one that reads slowly makes room for others."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from service import shared_answers
from service.shared_answers import (
    GRACE_SECONDS,
    PART_BYTES,
    Content,
    ReaderLimits,
    Readers,
    ending,
    parts_of,
)

LONG = (b"x" * (3 * PART_BYTES + 1),)
LIMITS = ReaderLimits(most=4, most_from_address=2, most_kept_bytes=10 * PART_BYTES)


class Beyond(Exception):
    """One too many."""


class Crowd:
    """Readers under a clock, and those that were ended."""

    def __init__(self, limits: ReaderLimits = LIMITS) -> None:
        self.seconds = 0.0
        self.readers = Readers(limits, Beyond, lambda: self.seconds)
        self.ended: list[str] = []

    def admit(self, name: str, address: str = "", content: Content = LONG) -> Any:
        return self.readers.admit(address or name, content, lambda: self.ended.append(name))


def test_beyond_the_limit_the_oldest_makes_room_once_it_had_its_time() -> None:
    crowd = Crowd()
    for name in "abcd":
        crowd.admit(name)
        crowd.seconds += 1
    with pytest.raises(Beyond):
        crowd.admit("e")
    crowd.seconds = GRACE_SECONDS
    crowd.admit("e")
    assert (crowd.ended, len(crowd.readers)) == (["a"], 4)


def test_an_address_has_a_share_and_makes_room_for_itself() -> None:
    crowd = Crowd()
    crowd.admit("other")
    for name in ("one", "two"):
        crowd.admit(name, "many")
    with pytest.raises(Beyond):
        crowd.admit("three", "many")
    crowd.seconds = GRACE_SECONDS
    crowd.admit("three", "many")
    assert crowd.ended == ["one"]


def test_who_is_done_gives_the_place_back() -> None:
    crowd = Crowd()
    for number in range(20):
        crowd.readers.release(crowd.admit(str(number)))
    assert (crowd.ended, len(crowd.readers)) == ([], 0)


def test_attack_readers_of_ever_newer_contents_keep_a_limited_number_of_bytes() -> None:
    crowd = Crowd(ReaderLimits(most=100, most_from_address=100, most_kept_bytes=10 * PART_BYTES))
    contents = [(bytes([number]) * (3 * PART_BYTES),) for number in range(5)]
    for number, content in enumerate(contents):
        crowd.seconds += GRACE_SECONDS
        for place in range(3):
            crowd.admit(f"{number}{place}", content=content)
    assert len(crowd.readers) == 9, "all that share three contents"
    assert crowd.ended == ["00", "01", "02", "10", "11", "12"]


async def test_an_answer_is_sent_in_parts_and_its_reader_has_until_a_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_answers, "MOST_SECONDS", -(len(LONG[0]) / PART_BYTES))
    crowd, ended, sent = Crowd(), asyncio.Event(), list[MutableMapping[str, Any]]()
    scope = {"client": ("192.0.2.1", 1), "extensions": ending(ended.set)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if len(sent) == 3:
            await ended.wait()  # it does not read on

    await crowd.readers.send(scope, send, LONG, parts_of(LONG[0]), {"Content-Length": str(len(LONG[0]))})
    assert ended.is_set()
    assert sent[0]["headers"] == [(b"content-length", str(len(LONG[0])).encode())]
    assert b"".join(one["body"] for one in sent[1:]) == LONG[0]
    assert max(len(one["body"]) for one in sent[1:]) == PART_BYTES
    assert len(crowd.readers) == 0
