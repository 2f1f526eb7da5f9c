"""JSON Patch (RFC 6902) operations, built directly as JSON text. Every one is an `add`.

A comparison of the Pod before and after would cost many times the whole request, and would have to be taught
not to replace arrays. Here each addition is written where it is decided. It is text from the start, because
nearly all of it is the same for every Pod and is encoded once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple, TypeAlias

from webhook.rawjson import JSONObject

Encoded: TypeAlias = str
"""A JSON value as text. ASCII only: JSON allows half of a surrogate pair in a string, and UTF-8 does not."""


class Operations(NamedTuple):
    """Encoded operations with commas between them, and how many they are."""

    text: Encoded
    number: int


NOTHING: Final = Operations("", 0)
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encoded(value: Any) -> Encoded:
    """`value` as JSON text."""
    return _ENCODER.encode(value)


# The same for a string, in a fraction of the time.
encoded_string = encode_basestring_ascii


def pointer(*segments: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the value at `segments`; escapes `~` and `/` inside of a segment."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def add(path: str, value: Encoded) -> Operations:
    """One `add` operation."""
    return Operations(_add(path, value), 1)


def append(owner: JSONObject, where: str, key: str, values: Sequence[Encoded]) -> Operations:
    """Operations that append `values`, in their order, to the array `owner[key]`.

    `where` is the pointer to `owner` in the document. A missing (or null) array is created. An existing one
    gets one operation for each value, so its elements keep their places, and the patch stays valid whatever
    was added to the array meanwhile.
    """
    return appended(f"{where}/{key}", values, is_missing=owner.get(key) is None)


def appended(path: str, values: Sequence[Encoded], *, is_missing: bool) -> Operations:
    """The same as `append`, for the array at the pointer `path`, which is missing or not."""
    if not values:
        return NOTHING
    if is_missing:
        return add(path, f"[{','.join(values)}]")
    return Operations(",".join([_add(f"{path}/-", value) for value in values]), len(values))


def prepended(path: str, values: Sequence[Encoded], *, is_missing: bool) -> Operations:
    """Operations that put `values`, in their order, before those of the array at the pointer `path`."""
    if is_missing or not values:
        return appended(path, values, is_missing=is_missing)
    return Operations(",".join([_add(f"{path}/0", value) for value in reversed(values)]), len(values))


def insert(owner: JSONObject, where: str, key: str, index: int, value: Encoded) -> Operations:
    """Operations that put `value` before the element `index` of the array `owner[key]`."""
    if owner.get(key) is None:
        return add(f"{where}/{key}", f"[{value}]")
    return add(f"{where}/{key}/{index}", value)


def joined(operations: Iterable[Operations]) -> Operations:
    """All of them, in their order."""
    some = [one for one in operations if one.number]
    return Operations(",".join([one.text for one in some]), sum([one.number for one in some]))


def _add(path: str, value: Encoded) -> Encoded:
    return f'{{"op":"add","path":{encoded_string(path)},"value":{value}}}'
