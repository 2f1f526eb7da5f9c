"""The fields of protobuf messages: written, and read within limits.

    identity = text_field(1, "spiffe://acme/web") + bytes_field(2, certificate)
    fields = read(message, 1, 3)
    fields.texts(1), fields.text(3)

https://protobuf.dev/programming-guides/encoding/

A message inside of another is a bytes field. A map is a field with one such message per entry: its key is 1,
its value 2.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from pod_agent.errors import MalformedMessage

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT_BYTES = 10
_MASK = 2**64 - 1
_MOST_FIELD_NUMBER = 2**29 - 1


def varint_field(number: int, value: int) -> bytes:
    """A field of an integer from 0 to 2**64 - 1, a bool, or an enumeration."""
    return _varint(number << 3 | _VARINT) + _varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, or of another message."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def text_field(number: int, value: str) -> bytes:
    return bytes_field(number, value.encode())


def double_field(number: int, value: float) -> bytes:
    return _varint(number << 3 | _FIXED64) + struct.pack("<d", value)


def map_field(number: int, entries: Mapping[str, bytes]) -> bytes:
    """A field of the type map<string, bytes>, or of a map from strings to messages."""
    return b"".join(
        bytes_field(number, text_field(1, key) + bytes_field(2, value)) for key, value in entries.items()
    )


class Fields:
    """The fields of one message, by number. A field that is absent has its type's default value."""

    def __init__(self, values: Mapping[int, list[int | bytes]]) -> None:
        self._values = values

    def integer(self, number: int) -> int:
        """The field's last value, as proto3 demands where one is expected; likewise for the other types."""
        found = [one for one in self._values.get(number, ()) if isinstance(one, int)]
        return found[-1] if found else 0

    def contents(self, number: int) -> list[bytes]:
        return [one for one in self._values.get(number, ()) if isinstance(one, bytes)]

    def content(self, number: int) -> bytes:
        found = self.contents(number)
        return found[-1] if found else b""

    def texts(self, number: int) -> list[str]:
        """Raises MalformedMessage for what is not UTF-8."""
        try:
            return [one.decode() for one in self.contents(number)]
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"field {number} is not UTF-8") from error

    def text(self, number: int) -> str:
        """Raises MalformedMessage for what is not UTF-8."""
        found = self.texts(number)
        return found[-1] if found else ""


def read(message: bytes, *wanted: int) -> Fields:
    """The fields with these numbers; all others are skipped. Raises MalformedMessage.

    Nothing is read inside of a field, so the depth is that of the caller's own calls. Groups, which proto3
    does not have, are refused.
    """
    values: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _MOST_FIELD_NUMBER:
            raise MalformedMessage(f"there is no field {number}")
        value: int | bytes
        if kind == _VARINT:
            value, place = _read_varint(message, place)
        elif kind in (_FIXED64, _FIXED32, _BYTES):
            size, place = _read_varint(message, place) if kind == _BYTES else (8 if kind == 1 else 4, place)
            if size > len(message) - place:
                raise MalformedMessage(f"field {number} is cut")
            # A fixed-width number is wanted nowhere, and is no bytes field.
            value, place = message[place : place + size] if kind == _BYTES else 0, place + size
        else:
            raise MalformedMessage(f"field {number} has the unknown wire type {kind}")
        if number in wanted and kind in (_VARINT, _BYTES):
            values.setdefault(number, []).append(value)
    return Fields(values)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(message[place : place + _LONGEST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & _MASK, place + count + 1
    raise MalformedMessage("a number is cut, or too long")
