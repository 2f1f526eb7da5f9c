"""HPACK's Huffman code (RFC 7541, section 5.2 and appendix B), decoded by a search among its 257 codes.

hpack's own module decodes with a state machine of 4096 tuples, which takes 0.6 MiB of every replica.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from functools import cache
from types import ModuleType

_SHORTEST_BITS, _LONGEST_BITS = 5, 30
_END_OF_STRING = 256


def replace_table() -> None:
    """Makes hpack decode with this module. Does nothing where hpack has loaded its own already."""
    lean = ModuleType("hpack.huffman_table")
    lean.decode_huffman = decode_huffman  # type: ignore[attr-defined]  # a module has what it is given
    sys.modules.setdefault(lean.__name__, lean)


def decode_huffman(encoded: bytes | bytearray | memoryview | None) -> bytes:
    """The text that was encoded. Raises HPACKDecodingError."""
    from hpack.exceptions import HPACKDecodingError  # hpack imports the table, and so would be here first

    firsts, codes = _codes()
    decoded = bytearray()
    held = bits = 0
    for byte in bytes(encoded or b""):
        held, bits = held << 8 | byte, bits + 8
        while bits >= _SHORTEST_BITS:
            aligned = held << _LONGEST_BITS - bits if bits < _LONGEST_BITS else held >> bits - _LONGEST_BITS
            length, symbol = codes[bisect_right(firsts, aligned) - 1]
            if length > bits:
                break
            if symbol == _END_OF_STRING:
                raise HPACKDecodingError("the end of the string is encoded within it")
            decoded.append(symbol)
            bits -= length
            held &= (1 << bits) - 1
    # Up to an octet the string is filled with the first bits of that end, which are ones.
    if bits > 7 or held != (1 << bits) - 1:
        raise HPACKDecodingError("the string ends within a code")
    return bytes(decoded)


@cache
def _codes() -> tuple[list[int], list[tuple[int, int]]]:
    """Each code's first number, and its length and symbol.

    The code is canonical: aligned to the left, the codes in order divide all numbers of 30 bits among them.
    """
    from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

    ordered = sorted(
        (code << _LONGEST_BITS - length, length, symbol)
        for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True))
    )
    return [first for first, _, _ in ordered], [(length, symbol) for _, length, symbol in ordered]
