"""structlog's lines, written as `service.logs` writes all others: for the programs that use it."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import structlog

from service import logs
from service.log import Threshold, get_logger


def configure(level: str) -> None:
    """As `logs.configure`, for programs whose code logs by structlog too."""
    logs.configure(level)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _as_arguments],
        wrapper_class=structlog.make_filtering_bound_logger(Threshold.level),
        logger_factory=_logger,
        cache_logger_on_first_use=True,
    )


def _logger(name: str = "root") -> Any:
    return get_logger(name)


def _as_arguments(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> tuple[tuple[Any], dict[str, Any]]:
    return (line.pop("event"),), dict(line)
