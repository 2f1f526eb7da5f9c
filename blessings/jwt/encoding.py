"""The encodings of JSON Web Tokens: base64url without padding, and JSON objects in which no name repeats.

RFC 7515, sections 2 and 4; RFC 7519, section 4. A name that repeats would mean one thing here and another
thing to the next reader.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """The inverse of `base64url`. Raises ValueError for every other encoding of the same bytes too."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("this is not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:
        raise ValueError("this is not the only base64url of its bytes")
    return data


def json_object(data: bytes) -> dict[str, Any]:
    """The object. Raises ValueError for anything else, and for an object in which a name repeats."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("this is no JSON object")  # noqa: TRY004 - malformed like the rest
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name in the JSON repeats")
    return value


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number in JSON")
