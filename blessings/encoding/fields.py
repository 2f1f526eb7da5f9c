"""Strict reading of JSON objects: every expected field is there and has its type, and there is no other."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Collection
from datetime import datetime

from blessings.encoding.canonical import JSON
from blessings.errors import InvalidCaveat

# Hour 24 is refused: some versions of Python read it as 0 of the next day, a second encoding of one time.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?!24)[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


class Fields:
    """The fields of one object. Each message begins with the object's place, such as `discharge.caveats`."""

    def __init__(self, value: JSON, where: str, expected: Collection[str]) -> None:
        """Raises InvalidCaveat when `value` is not an object with exactly the `expected` fields."""
        if not isinstance(value, dict):
            raise InvalidCaveat(f"{where} must be an object, got {type(value).__name__}")
        if missing := [key for key in expected if key not in value]:
            raise InvalidCaveat(f"{where} lacks {', '.join(missing)}")
        if unknown := sorted(key for key in value if key not in expected):
            raise InvalidCaveat(f"{where} has the unknown field {unknown[0]!r:.100}")
        self._value = value
        self._where = where

    def text(self, key: str) -> str:
        value = self._value[key]
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def texts(self, key: str) -> list[str]:
        texts = [one for one in self.list(key) if isinstance(one, str)]
        if len(texts) != len(self.list(key)):
            raise self._wrong(key, "a list of strings")
        return texts

    def list(self, key: str) -> list[JSON]:
        value = self._value[key]
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def version(self, known: int) -> None:
        value = self._value["version"]
        if isinstance(value, bool) or value != known:
            raise self._wrong("version", f"{known}, the only one that this program knows")

    def bytes(self, key: str) -> bytes:
        """Base64 (RFC 4648, section 4), in its canonical encoding only."""
        text = self.text(key)
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._wrong(key, "base64") from error
        if base64.b64encode(data).decode() != text:
            raise self._wrong(key, "base64 in its canonical encoding")
        return data

    def time(self, key: str) -> datetime:
        text, expected = self.text(key), "a time such as 2026-11-24T12:00:00Z"
        if not _TIME.fullmatch(text):
            raise self._wrong(key, expected)
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise self._wrong(key, expected) from error

    def whole_number(self, key: str, most: int) -> int:
        """A whole number from 0 to `most`."""
        value = self._value[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise self._wrong(key, f"a whole number from 0 to {most}")
        return value

    def any(self, key: str) -> JSON:
        return self._value[key]

    def _wrong(self, key: str, expected: str) -> InvalidCaveat:
        return InvalidCaveat(f"{self._where}.{key} must be {expected}, got {self._value[key]!r:.100}")


def spell_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode()
