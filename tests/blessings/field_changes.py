"""Changes of one node of a DER tree, as an attacker who forges a certificate may try them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Protocol

from tests.blessings.der_tree import Node
from tests.vectors import caveats
from tests.vectors.chains import NAME

OTHERS = ["acme", "acme:admin", "acme:web", "acme:website:x", f"{NAME}:$", "evil:web", "..."]


class Change(Protocol):
    """Every change of one node, as the bytes that replace it."""

    def __call__(self, node: Node, /, rng: random.Random) -> tuple[Node, ...]: ...


def exchange_for(foreign: Node) -> Change:
    """Another node stands in its place."""
    return lambda _node, rng: (foreign,)


def _leave_out(_node: Node, rng: random.Random) -> tuple[Node, ...]:
    return ()


def _double(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return node, node


def _empty(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return (Node(node.tag, b""),)


def _flip(node: Node, rng: random.Random) -> tuple[Node, ...]:
    value = bytearray(node.encode()[2:] or b"\x00")
    value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
    return (Node(node.tag, bytes(value)),)


def _lengthen(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return (Node(node.tag, _value(node) + rng.randbytes(rng.randint(1, 3))),)


def _shorten(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return (Node(node.tag, _value(node)[:-1]),)


def _retag(node: Node, rng: random.Random) -> tuple[Node, ...]:
    tags = [
        0x01,
        0x02,
        0x03,
        0x04,
        0x05,
        0x06,
        0x0C,
        0x13,
        0x16,
        0x17,
        0x18,
        0x1E,
        0x30,
        0x31,
        0x82,
        0x86,
        0xA0,
    ]
    return (Node(rng.choice(tags), _value(node)),)


def _say_true(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return (Node(node.tag, b"\xff"),)


def _number(node: Node, rng: random.Random) -> tuple[Node, ...]:
    return (
        Node(node.tag, rng.choice([b"\x00", b"\x01", b"\x02", b"\x80", b"\x7f\xff\xff\xff", b"\xff" * 20])),
    )


def _time(_node: Node, rng: random.Random) -> tuple[Node, ...]:
    texts = [b"200101000000Z", b"491231235959Z", b"20261124120001Z", b"00000101000000Z", b"99991231235959Z"]
    text = rng.choice([*texts, datetime(2026, 11, 24, 12, 30, tzinfo=UTC).strftime("%y%m%d%H%M%SZ").encode()])
    return (Node(0x17 if len(text) == 13 else 0x18, text),)


def _text(node: Node, rng: random.Random) -> tuple[Node, ...]:
    name = rng.choice(OTHERS)
    texts = [*name.split(":"), name, "spiffe://" + name.replace(":", "/"), caveats.restrictions(), "\udcff"]
    return (Node(node.tag, rng.choice(texts).encode("utf-8", "surrogateescape")),)


def _swap(node: Node, rng: random.Random) -> tuple[Node, ...]:
    if node.children is None:
        return (Node(node.tag, node.value[::-1]),)
    children = list(node.children)
    rng.shuffle(children)
    return (Node(node.tag, children=tuple(children)),)


def _value(node: Node) -> bytes:
    return node.value if node.children is None else b"".join(one.encode() for one in node.children)


CHANGES: list[Change] = [
    _leave_out,
    _double,
    _empty,
    _flip,
    _lengthen,
    _shorten,
    _retag,
    _say_true,
    _number,
    _time,
    _text,
    _swap,
]
