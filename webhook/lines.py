"""The log line of each admission, written in microseconds.

It has the form of every other line (`service.logs`), whose way through structlog's processors takes as long
as the admission itself.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property

import structlog

from webhook.patch import Encoded


class Lines:
    """The lines of one logger at level `info`. Those of one turn of the event loop are written together."""

    def __init__(self, logger: str) -> None:
        self._logger = logger
        self._waiting: list[Encoded] = []

    @cached_property
    def are_written(self) -> bool:
        """Whether the configured level lets them through."""
        return bool(structlog.get_logger().is_enabled_for(logging.INFO))

    def add(self, fields: Encoded) -> None:
        """Writes one line at the end of this turn; `fields` are JSON with commas between them."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._waiting.append(f'{{{fields},"level":"info","logger":"{self._logger}","timestamp":"{now}"}}\n')

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        with suppress(OSError):  # a log that cannot be written must cost nobody an answer
            sys.stderr.buffer.write("".join(lines).encode("ascii"))
            sys.stderr.buffer.flush()
