"""The lines that our own loggers write in this process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from service.log import Line


@contextmanager
def captured_lines() -> Iterator[list[dict[str, Any]]]:
    """Each line's values, with `event`, `log_level` and, where it has one, its error as `exc_info`."""
    lines: list[dict[str, Any]] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.msg, Line):
                raised = {"exc_info": record.exc_info[1]} if record.exc_info else {}
                known = {"event": record.msg.event, "log_level": record.levelname.lower()}
                lines.append({**record.msg.values, **known, **raised})

    root, collector = logging.getLogger(), Collector()
    root.addHandler(collector)
    try:
        yield lines
    finally:
        root.removeHandler(collector)
