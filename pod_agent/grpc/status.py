"""The status codes of gRPC that are used here.

https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a call ended."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
