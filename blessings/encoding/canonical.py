"""Canonical JSON: one encoding for each value, so that what is signed or hashed has one meaning.

It is RFC 8785 (JSON Canonicalization Scheme) for the values that we allow: objects with ASCII keys, lists,
strings, booleans, null, and whole numbers that a double represents exactly. Fractions are not allowed,
because implementations encode them differently. `parse` refuses every other encoding of a value, and
therefore also an object with a repeated key.
"""

from __future__ import annotations

import json

from blessings.errors import InvalidCaveat

JSON = None | bool | int | str | list["JSON"] | dict[str, "JSON"]

MAX_BYTES = 16 * 1024
MAX_DEPTH = 12
MAX_INTEGER = 2**53 - 1


def encode(value: JSON) -> bytes:
    """The canonical encoding of `value` in UTF-8. Raises InvalidCaveat for a value that has none."""
    check(value)
    return _encode(value)


def parse(data: bytes) -> JSON:
    """The value that the canonical `data` encodes. Raises InvalidCaveat for any other encoding."""
    value = parse_any(data)
    if _encode(value) != data:
        raise InvalidCaveat(
            "the JSON is not in canonical form (RFC 8785): sorted keys, no spaces, no repeats"
        )
    return value


def parse_any(data: bytes | str, most: int = MAX_BYTES) -> JSON:
    """The value of JSON in any encoding, if this module allows the value. Raises InvalidCaveat."""
    if len(data) > most:
        raise InvalidCaveat(f"the JSON has {len(data)} bytes, at most {most} are read")
    try:
        value: object = json.loads(data, object_pairs_hook=_without_repeats)
    except InvalidCaveat:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidCaveat(f"this is not JSON: {type(error).__name__}") from error
    return check(value)


def check(value: object, depth: int = 0) -> JSON:
    """Returns `value` when it has a canonical encoding. Raises InvalidCaveat."""
    if depth > MAX_DEPTH:
        raise InvalidCaveat(f"the JSON is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list):
        for one in value:
            check(one, depth + 1)
    elif isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise InvalidCaveat(f"an object's keys must be ASCII strings, got {key!r:.100}")
            check(one, depth + 1)
    elif isinstance(value, str):
        _check_string(value)
    elif value is not None and not isinstance(value, bool | int):
        raise InvalidCaveat(f"numbers must be whole, and {type(value).__name__} is not allowed")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise InvalidCaveat("whole numbers must be within ±(2^53 - 1)")
    return value


def _check_string(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidCaveat("a string contains half of a surrogate pair") from error


def _encode(value: JSON) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise InvalidCaveat("an object contains the same key twice")
    return made
