"""The log line of each admission, written in microseconds.

It has the form of every other line (`service.logs`), whose way through structlog's processors takes as long
as the admission itself.
"""

from __future__ import annotations

import asyncio
import logging
import time

import structlog

from service.log_stream import STANDARD_ERROR
from webhook.patch import Encoded


class Lines:
    """The lines of one logger at level `info`. Those of one turn of the event loop are written together."""

    def __init__(self, logger: str) -> None:
        self._logger = logger
        self._waiting: list[Encoded] = []
        self._are_written: bool | None = None
        self._second = 0
        self._text_of_second = ""

    @property
    def are_written(self) -> bool:
        """Whether the configured level, which does not change, lets them through."""
        if self._are_written is None:
            self._are_written = bool(structlog.get_logger().is_enabled_for(logging.INFO))
        return self._are_written

    def add(self, fields: Encoded) -> None:
        """Writes one line at the end of this turn; `fields` are JSON with commas between them."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._waiting.append(
            f'{{{fields},"level":"info","logger":"{self._logger}","timestamp":"{self._now()}"}}\n'
        )

    def _now(self) -> str:
        second, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        if second != self._second:
            self._second = second
            self._text_of_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text_of_second}.{microseconds:06d}Z"

    def _write(self) -> None:
        lines, self._waiting = self._waiting, []
        STANDARD_ERROR.write("".join(lines))
