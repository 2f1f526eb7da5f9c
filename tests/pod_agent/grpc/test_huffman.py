"""Our decoder of HPACK's Huffman code beside hpack's own."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as hpacks

from pod_agent.grpc.huffman import decode_huffman

_ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
_END_OF_STRING = (0x3FFFFFFF << 2 | 0b11).to_bytes(4, "big")


def judged(decode: object, encoded: bytes) -> bytes | None:
    try:
        return bytes(decode(encoded))  # type: ignore[operator]
    except HPACKDecodingError:
        return None


def test_every_byte_is_decoded_as_it_was_encoded() -> None:
    for text in (
        b"",
        bytes(range(256)),
        b"/SpiffeWorkloadAPI/FetchX509SVID",
        *(bytes([one]) for one in range(256)),
    ):
        assert decode_huffman(_ENCODER.encode(text)) == text


def test_any_bytes_mean_what_they_mean_to_hpack() -> None:
    chance = random.Random(7541)
    texts = [chance.randbytes(chance.randrange(1, 12)) for _ in range(3000)]
    cut = [_ENCODER.encode(text)[:-1] for text in texts]
    all_ones = [bytes([0xFF]) * count for count in range(1, 9)]
    padded = [_ENCODER.encode(text) + b"\xff" for text in texts[:100]]
    for encoded in (*texts, *cut, *all_ones, *padded, *(_ENCODER.encode(text) for text in texts)):
        assert judged(decode_huffman, encoded) == judged(hpacks, encoded), encoded.hex()


@pytest.mark.parametrize("encoded", [_END_OF_STRING, b"\x1f" + _END_OF_STRING, b"\xff\xff", b"\x00"])
def test_attack_a_string_with_its_end_within_or_a_wrong_filling_is_refused(encoded: bytes) -> None:
    with pytest.raises(HPACKDecodingError):
        decode_huffman(encoded)


def test_a_running_agent_never_loads_hpacks_table() -> None:
    program = """
import sys
from pod_agent.grpc.server import GrpcServer
GrpcServer({}).connection()
import hpack.hpack, pod_agent.grpc.huffman
assert hpack.hpack.decode_huffman is pod_agent.grpc.huffman.decode_huffman
assert not hasattr(sys.modules["hpack.huffman_table"], "HUFFMAN_TABLE")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
