"""Typed reading of raw JSON that nothing has checked.

The Pod stays the JSON that came in: a typed model would lose unknown fields, and Kubernetes adds fields with
every release. So each field that we do need is read by one of these functions.

Their `where` is the path of the owner, or an object whose text is that path: it is needed only in the message
of an error, and one admission reads a hundred fields.
"""

from __future__ import annotations

from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]


class WrongTypeError(Exception):
    """A field has another JSON type than its place requires; the message states both."""


def object_at(owner: JSONObject, key: str, where: object) -> JSONObject:
    """The object `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(_path(where, key), value, "an object")
    return value


def objects_at(owner: JSONObject, key: str, where: object) -> list[JSONObject]:
    """The array of objects `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else, or holds something else.
    """
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _wrong(_path(where, key), value, "an array")
    for item in value:
        if not isinstance(item, dict):
            raise _wrong(f"{_path(where, key)}[{value.index(item)}]", item, "an object")
    return value


def string_at(owner: JSONObject, key: str, where: object) -> str:
    """The string `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong(_path(where, key), value, "a string")
    return value


def flag_at(owner: JSONObject, key: str, where: object) -> bool:
    """The boolean `owner[key]`, false when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise _wrong(_path(where, key), value, "true or false")
    return value


def as_object(value: object, where: object) -> JSONObject:
    """`value` as an object; `where` is its own path.

    Raises:
        WrongTypeError: it is something else.
    """
    if not isinstance(value, dict):
        raise _wrong(str(where), value, "an object")
    return value


def _path(where: object, key: str) -> str:
    return f"{where}.{key}" if where else key


def _wrong(path: str, value: object, expected: str) -> WrongTypeError:
    return WrongTypeError(f"{path} is {_kind(value)}, expected {expected}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
