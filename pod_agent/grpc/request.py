"""What the headers of a request ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

CONTENT_TYPE = "application/grpc"
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class NotGrpc(Exception):
    """The request is none of gRPC, and gets this HTTP status. `str()` is what is wrong with it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A call's method, its deadline in seconds (None: it has none), and all headers."""

    path: str
    seconds: float | None
    metadata: dict[str, str]


def parse_request(headers: Iterable[tuple[str, str]]) -> Request:
    """Raises NotGrpc for a request of another kind, and ValueError for a deadline that is none."""
    metadata: dict[str, str] = {}
    for name, value in headers:
        metadata.setdefault(name, value)
    if metadata.get(":method") != "POST":
        raise NotGrpc(405, "the method is not POST")
    kind, _, encoding = metadata.get("content-type", "").partition("+")
    if kind != CONTENT_TYPE or encoding not in ("", "proto"):
        raise NotGrpc(415, f"the content type is not {CONTENT_TYPE}")
    if metadata.get("te") != "trailers":
        raise NotGrpc(400, "the header te: trailers is missing")
    return Request(metadata.get(":path", ""), _seconds(metadata.get("grpc-timeout")), metadata)


def _seconds(timeout: str | None) -> float | None:
    if timeout is None:
        return None
    parsed = _TIMEOUT.fullmatch(timeout)
    if parsed is None:
        raise ValueError("grpc-timeout is malformed")
    return int(parsed[1]) * _SECONDS[parsed[2]]
