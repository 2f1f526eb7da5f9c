"""What a body may be: bounded in depth and in values, before anything is made of it."""

from __future__ import annotations

import json

import pytest

from webhook.body import LARGE, LIMIT, MOST_VALUES, parse
from webhook.errors import BadRequestError
from webhook.reasons import AdmissionReason


def reason(body: bytes) -> AdmissionReason:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert caught.value.status == 400
    return caught.value.reason


def filled(item: bytes) -> bytes:
    return b"[" + b",".join([item] * ((LIMIT - 2) // (len(item) + 1))) + b"]"


@pytest.mark.parametrize("item", [b"[]", b"{}", b"1", b'""', b"[[]]", b'{"":0}'])
def test_more_values_than_any_pod_has_are_not_made(item: bytes) -> None:
    assert reason(filled(item)) is AdmissionReason.TOO_MANY_VALUES


def test_a_pod_as_large_as_etcd_could_store_is_read() -> None:
    body = json.dumps([{"name": "A", "value": "b"}] * 60_000, separators=(",", ":")).encode()
    assert 1_400_000 < len(body) < LIMIT
    assert parse(body) == json.loads(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_depth_is_bounded_in_small_and_in_large_bodies(opening: bytes) -> None:
    assert reason(opening * 5000) is AdmissionReason.TOO_DEEPLY_NESTED
    assert len(opening * 90_000) > LARGE
    assert MOST_VALUES > 90_000
    assert reason(opening * 90_000) is AdmissionReason.TOO_DEEPLY_NESTED


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2, "b": {"c": [1], "c": []}}',
        r'{"uid": "\ud800 \u0000 é"}',
        r'["\ud83d\ude00", "\u007f", ""]',
        "[1e999, -0, 0.1, 1.0E+2, 18446744073709551615, -9223372036854775808]",
        " \t\r\n{} \n",
        '"/\\/"',
    ],
)
def test_json_is_read_as_the_standard_library_reads_it(text: str) -> None:
    assert parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"NaN", b"-Infinity", b"[1,]", b"01", b'"\x01"', b"\xef\xbb\xbf{}", b"{}{}"),
        *(b"9" * 5000, b"'a'", b"[1 2]", b'{"a"}', b"\xff\xfe{}", b'"\xed\xa0\x80"'),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    assert reason(body) is AdmissionReason.INVALID_JSON
