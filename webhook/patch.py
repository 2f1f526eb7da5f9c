"""JSON Patch (RFC 6902) operations, built directly. Every one is an `add`.

A comparison of the Pod before and after would cost many times the whole request, and would have to be taught
not to replace arrays. Here each addition is written where it is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from webhook.rawjson import JSONObject

Operation = JSONObject


def pointer(*segments: str | int) -> str:
    """A JSON Pointer (RFC 6901) to the value at `segments`; escapes `~` and `/` inside of a segment."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def add(path: str, value: Any) -> Operation:
    """One `add` operation."""
    return {"op": "add", "path": path, "value": value}


def append(owner: JSONObject, where: Sequence[str | int], key: str, values: Sequence[Any]) -> list[Operation]:
    """Operations that append `values`, in their order, to the array `owner[key]`.

    `where` is the path of `owner` in the document. A missing (or null) array is created. An existing one gets
    one operation for each value, so its elements keep their places, and the patch stays valid whatever was
    added to the array meanwhile.
    """
    if not values:
        return []
    if owner.get(key) is None:
        return [add(pointer(*where, key), list(values))]
    return [add(pointer(*where, key, "-"), value) for value in values]


def prepend(owner: JSONObject, where: Sequence[str | int], key: str, value: Any) -> list[Operation]:
    """Operations that put `value` before every element of the array `owner[key]`."""
    if owner.get(key) is None:
        return [add(pointer(*where, key), [value])]
    return [add(pointer(*where, key, 0), value)]
