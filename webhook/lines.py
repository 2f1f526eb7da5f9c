"""The log line of each admission, written in microseconds.

It has the form of every other line (`service.logs`), whose way through structlog's processors takes as long
as the admission itself.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property

import orjson
import structlog


class Lines:
    """The lines of one logger at level `info`. Those of one turn of the event loop are written together."""

    def __init__(self, logger: str) -> None:
        self._logger = logger
        self._waiting: list[bytes] = []

    @cached_property
    def are_written(self) -> bool:
        """Whether the configured level lets them through."""
        return bool(structlog.get_logger().is_enabled_for(logging.INFO))

    def add(self, fields: Mapping[str, object]) -> None:
        """Writes one line at the end of this turn."""
        line = {
            **fields,
            "level": "info",
            "logger": self._logger,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        try:
            text = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half of a surrogate pair, which JSON allows and UTF-8 does not
            text = json.dumps(line).encode("ascii") + b"\n"
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append(text)

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        with suppress(OSError):  # a log that cannot be written must cost nobody an answer
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()
