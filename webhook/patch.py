"""JSON Patch (RFC 6902) operations, built directly as JSON text. Every one is an `add`.

A comparison of the Pod before and after would cost many times the whole request, and would have to be taught
not to replace arrays. Here each addition is written where it is decided. It is text from the start, because
nearly all of it is the same for every Pod and is encoded once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, TypeAlias

from webhook.rawjson import JSONObject

Encoded: TypeAlias = str
"""A JSON value as text. ASCII only: JSON allows half of a surrogate pair in a string, and UTF-8 does not."""

Operation: TypeAlias = str
"""One encoded operation."""

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encoded(value: Any) -> Encoded:
    """`value` as JSON text."""
    return _ENCODER.encode(value)


def encoded_string(value: str) -> Encoded:
    """The same as `encoded`, for a string, in a fraction of the time."""
    return encode_basestring_ascii(value)


def pointer(*segments: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the value at `segments`; escapes `~` and `/` inside of a segment."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def add(path: str, value: Encoded) -> Operation:
    """One `add` operation."""
    return f'{{"op":"add","path":{encoded_string(path)},"value":{value}}}'


def append(owner: JSONObject, where: str, key: str, values: Sequence[Encoded]) -> list[Operation]:
    """Operations that append `values`, in their order, to the array `owner[key]`.

    `where` is the pointer to `owner` in the document. A missing (or null) array is created. An existing one
    gets one operation for each value, so its elements keep their places, and the patch stays valid whatever
    was added to the array meanwhile.
    """
    if not values:
        return []
    if owner.get(key) is None:
        return [add(f"{where}/{key}", f"[{','.join(values)}]")]
    return [add(f"{where}/{key}/-", value) for value in values]


def prepend(owner: JSONObject, where: str, key: str, value: Encoded) -> list[Operation]:
    """Operations that put `value` before every element of the array `owner[key]`."""
    if owner.get(key) is None:
        return [add(f"{where}/{key}", f"[{value}]")]
    return [add(f"{where}/{key}/0", value)]
