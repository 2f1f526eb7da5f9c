"""Typed reading of raw JSON that nothing has checked.

The Pod stays the JSON that came in: a typed model would lose unknown fields, and Kubernetes adds fields with
every release. So each field that we do need is read by one of these functions.
"""

from __future__ import annotations

from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]


class WrongTypeError(Exception):
    """A field has another JSON type than its place requires; the message states both."""


def object_at(owner: JSONObject, key: str, where: str) -> JSONObject:
    """The object `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return {}
    return as_object(value, f"{where}.{key}" if where else key)


def objects_at(owner: JSONObject, key: str, where: str) -> list[JSONObject]:
    """The array of objects `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else, or holds something else.
    """
    value = owner.get(key)
    if value is None:
        return []
    path = f"{where}.{key}" if where else key
    if not isinstance(value, list):
        raise WrongTypeError(f"{path} is {_kind(value)}, expected an array")
    for index, item in enumerate(value):
        as_object(item, f"{path}[{index}]")
    return value


def string_at(owner: JSONObject, key: str, where: str) -> str:
    """The string `owner[key]`, empty when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        path = f"{where}.{key}" if where else key
        raise WrongTypeError(f"{path} is {_kind(value)}, expected a string")
    return value


def flag_at(owner: JSONObject, key: str, where: str) -> bool:
    """The boolean `owner[key]`, false when missing or null.

    Raises:
        WrongTypeError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        path = f"{where}.{key}" if where else key
        raise WrongTypeError(f"{path} is {_kind(value)}, expected true or false")
    return value


def as_object(value: object, where: str) -> JSONObject:
    """`value` as an object; `where` is its path.

    Raises:
        WrongTypeError: it is something else.
    """
    if not isinstance(value, dict):
        raise WrongTypeError(f"{where} is {_kind(value)}, expected an object")
    return value


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
