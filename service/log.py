"""The loggers of the light code: an event, and values by name, as one line.

    log = get_logger("pod_agent")
    log.info("blessed", name=str(name), version=3)

They have structlog's calls, and none of its 6 MiB. A line goes to the standard library's handlers, which
`service.logs` sets; without these, warnings are written as text.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """The message of a log record that a `Logger` made."""

    event: str
    values: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join([self.event, *(f"{name}={value!r}" for name, value in self.values.items())])


class Threshold:
    """The level from which lines are written. Loggers of libraries have their own."""

    level = logging.DEBUG


class Logger:
    """Writes lines under one name. Each value of a line is what JSON has, or is written as its `repr`; with
    `exc_info`, an error or True for the one being handled, the line has its traceback."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **values: Any) -> None:
        self._write(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        self._write(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._write(logging.WARNING, event, values)

    def error(self, event: str, **values: Any) -> None:
        self._write(logging.ERROR, event, values)

    def exception(self, event: str, **values: Any) -> None:
        self._write(logging.ERROR, event, {"exc_info": True, **values})

    def critical(self, event: str, **values: Any) -> None:
        self._write(logging.CRITICAL, event, values)

    def _write(self, level: int, event: str, values: dict[str, Any]) -> None:
        if level < Threshold.level:
            return
        error = values.pop("exc_info", None)
        if isinstance(error, BaseException):
            error = (type(error), error, error.__traceback__)
        elif error and not isinstance(error, tuple):
            error = sys.exc_info()
        line = Line(event, values)
        # Not by its level, which is that of libraries.
        self._logger.handle(self._logger.makeRecord(self._logger.name, level, "", 0, line, (), error or None))


def get_logger(name: str) -> Logger:
    """The logger of that name, which each line states."""
    return Logger(name)
