"""PNGs of at most 256 colours, for pictures in the documents: a third of the size that a browser writes.

https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 3
_MOST = 256
_NEAR = 5 * 5


def with_palette(png: bytes) -> bytes:
    """The picture with its most frequent colours that differ; the others become the nearest of these.

    Takes an RGB picture of eight bits, not interlaced, as a browser writes it.
    """
    chunks = list(_chunks(png))
    header = next(content for kind, content in chunks if kind == b"IHDR")
    width, height = struct.unpack(">II", header[:8])
    assert header[8:] == bytes((8, 2, 0, 0, 0))
    rows = _rows(
        zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT")), width, height
    )
    pixels = [[row[place : place + _RGB] for place in range(0, len(row), _RGB)] for row in rows]
    counted = Counter(pixel for row in pixels for pixel in row)
    palette: list[bytes] = []
    for colour, _ in counted.most_common():
        # One that is nearly there already would take the place of a rare one that is not.
        if len(palette) < _MOST and all(_distance(one, colour) > _NEAR for one in palette):
            palette.append(colour)
    number = {
        colour: min(range(len(palette)), key=lambda one: _distance(palette[one], colour))
        for colour in counted
    }
    image = b"".join(b"\0" + bytes(number[pixel] for pixel in row) for row in pixels)
    parts = (
        (b"IHDR", header[:8] + bytes((8, 3, 0, 0, 0))),
        (b"PLTE", b"".join(palette)),
        (b"IDAT", zlib.compress(image, 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def _distance(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(_SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += length + 12


def _rows(data: bytes, width: int, height: int) -> Iterator[bytes]:
    """The rows, without the filters, by which a row states only how it differs from its neighbours."""
    length = width * _RGB
    above = bytes(length)
    for number in range(height):
        begin = number * (length + 1)
        kind, row = data[begin], bytearray(data[begin + 1 : begin + 1 + length])
        for place in range(length):
            left = row[place - _RGB] if place >= _RGB else 0
            corner = above[place - _RGB] if place >= _RGB else 0
            row[place] = (row[place] + _predicted(kind, left, above[place], corner)) & 255
        above = bytes(row)
        yield above


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:  # Paeth
        guess = left + above - corner
        return min((left, above, corner), key=lambda one: abs(guess - one))
    return (0, left, above, (left + above) // 2)[kind]
