"""DER as a tree that can be changed anywhere and spelled again, with every length right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

_CONSTRUCTED, _OCTET_STRING = 0x20, 0x04
Path = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One element: its children where it is constructed or an OCTET STRING with DER, else its value."""

    tag: int
    value: bytes = b""
    children: tuple[Node, ...] | None = None

    def encode(self) -> bytes:
        value = self.value if self.children is None else b"".join(one.encode() for one in self.children)
        size = len(value)
        if size < 0x80:
            return bytes([self.tag, size]) + value
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes([self.tag, 0x80 | len(octets)]) + octets + value

    def paths(self, at: Path = ()) -> Iterator[Path]:
        """Where each node of the tree is, this one first."""
        yield at
        for position, child in enumerate(self.children or ()):
            yield from child.paths((*at, position))

    def at(self, path: Path) -> Node:
        node = self
        for position in path:
            node = (node.children or ())[position]
        return node

    def with_changed(self, path: Path, change: Callable[[Node], tuple[Node, ...]]) -> Node:
        """The tree with what `change` makes of the node at `path` (not the root's) in its place."""
        children = self.children or ()
        position, *below = path
        made = (
            (children[position].with_changed(tuple(below), change),) if below else change(children[position])
        )
        return replace(self, children=(*children[:position], *made, *children[position + 1 :]))


def parse(der: bytes) -> Node:
    """The tree of one element. Raises ValueError for what is not DER, or more than one."""
    (node,) = _parse_all(der)
    return node


def _parse_all(data: bytes) -> tuple[Node, ...]:
    nodes = []
    while data:
        if len(data) < 2:
            raise ValueError("cut off")
        size, begin = data[1], 2
        if size & 0x80:
            begin += size & 0x7F
            size = int.from_bytes(data[2:begin], "big")
        value, data, tag = data[begin : begin + size], data[begin + size :], data[0]
        if len(value) != size:
            raise ValueError("cut off")
        nodes.append(_node(tag, value))
    return tuple(nodes)


def _node(tag: int, value: bytes) -> Node:
    if tag & _CONSTRUCTED:
        return Node(tag, children=_parse_all(value))
    if tag == _OCTET_STRING:
        try:
            node = Node(tag, children=_parse_all(value))
        except ValueError:
            return Node(tag, value)
        # A key identifier may look like DER by chance.
        return node if node.encode() == Node(tag, value).encode() else Node(tag, value)
    return Node(tag, value)
