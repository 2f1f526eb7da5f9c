"""Fields of messages, beside Google's own library."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import pytest
from google.protobuf.struct_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st
from spiffe._proto.workload_pb2 import JWTSVIDRequest, X509BundlesResponse, X509SVIDResponse

from pod_agent.errors import MalformedMessage
from pod_agent.grpc.messages import (
    bytes_field,
    double_field,
    map_field,
    read,
    text_field,
    varint_field,
)


def test_what_is_written_is_what_googles_library_reads() -> None:
    svid = text_field(1, "spiffe://acme/ü") + bytes_field(2, b"\x00" * 300) + bytes_field(3, b"")
    written = bytes_field(1, svid) + bytes_field(2, b"crl") + map_field(3, {"a": b"1", "b": b""})
    parsed = X509SVIDResponse.FromString(written)
    assert parsed.svids[0].spiffe_id == "spiffe://acme/ü"
    assert parsed.svids[0].x509_svid == b"\x00" * 300
    assert list(parsed.crl) == [b"crl"]
    assert dict(parsed.federated_bundles) == {"a": b"1", "b": b""}
    assert dict(X509BundlesResponse.FromString(map_field(2, {})).bundles) == {}


@given(st.integers(0, 2**64 - 1), st.floats(allow_nan=False), st.text())
def test_numbers_and_texts_keep_their_value(number: int, value: float, text: str) -> None:
    assert read(varint_field(5, number), 5).integer(5) == number
    assert Value.FromString(double_field(2, value)).number_value == value
    assert Value.FromString(text_field(3, text)).string_value == text
    assert Value.FromString(varint_field(4, True)).bool_value is True


@given(st.lists(st.text()), st.text())
def test_what_googles_library_writes_is_read(audience: list[str], spiffe_id: str) -> None:
    written = JWTSVIDRequest(audience=audience, spiffe_id=spiffe_id).SerializeToString()
    fields = read(written, 1, 2)
    assert (fields.texts(1), fields.text(2)) == (audience, spiffe_id)


def test_unknown_fields_are_skipped_whatever_their_type() -> None:
    unknown = (
        varint_field(9, 2**64 - 1)
        + double_field(10, 1.5)
        + bytes_field(11, b"x" * 200)
        + struct.pack("<BI", 12 << 3 | 5, 7)
        + varint_field(2**29 - 1, 1)
    )
    fields = read(unknown + text_field(1, "wanted") + unknown, 1, 2)
    assert fields.texts(1) == ["wanted"]
    assert (fields.text(2), fields.content(2), fields.integer(2)) == ("", b"", 0)
    # A field of another type than expected counts as unknown too. If one is repeated, the last one holds.
    assert read(varint_field(1, 7) + text_field(1, "a") + text_field(1, "b"), 1).text(1) == "b"


@pytest.mark.parametrize(
    "message",
    [
        b"\x80",
        b"\xff" * 11,
        b"\x00\x00",
        b"\x0a\x05abc",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0b\x0c",  # a group
        b"\x0f",
        b"\x09abc",
        b"\x0dabc",
        b"\x80\x80\x80\x80\x80\x01\x00",
    ],
)
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read(message, 1)


def test_a_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="field 1 is not UTF-8"):
        read(bytes_field(1, b"\xff"), 1).text(1)


def test_attack_random_messages_are_read_or_refused() -> None:
    rng = random.Random(16)
    good = bytes_field(1, text_field(1, "spiffe://acme") + double_field(2, 1.5)) + varint_field(2, 300)
    for _ in range(5000):
        message = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        with suppress(MalformedMessage):
            fields = read(bytes(message[: rng.randrange(len(message) + 1)]), 1, 2)
            for content in fields.contents(1):
                read(content, 1, 2).texts(1)
