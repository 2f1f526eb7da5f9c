"""The log: one JSON object per line on stderr, whether our code, a library or the interpreter writes it."""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

from service.bounded_log import BoundedLines
from service.log import Line, Threshold, get_logger
from service.log_stream import STANDARD_ERROR

_LONGEST_OBJECT = 200
_log = get_logger(__name__)


class _Json(logging.Formatter):
    """A record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        written: dict[str, object] = {}
        if isinstance(record.msg, Line):
            written |= record.msg.values
            written["event"] = record.msg.event
        else:
            written["event"] = _message(record)
        written["logger"] = record.name
        written["level"] = record.levelname.lower()
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        written["timestamp"] = at.replace("+00:00", "Z")
        if record.exc_info:
            written["exception"] = "".join(traceback.format_exception(*record.exc_info)).removesuffix("\n")
        return json.dumps(written, default=repr)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError) as error:
        # `logging` would write to standard error by itself, and wait.
        return f"{record.msg} (its arguments do not fit: {error})"


def configure(level: str) -> None:
    """Writes what this program logs from `level` (`debug` … `error`) up, and warnings of its libraries, these
    at a bounded rate.

    Warnings of Python and uncaught errors, in a thread too, also become such lines.
    """
    if sys.stderr is None:
        # Closed: else the next file or socket that is opened would get its number, and the log.
        while os.open(os.devnull, os.O_WRONLY) < STANDARD_ERROR.descriptor:
            pass
    Threshold.level = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(STANDARD_ERROR)
    handler.setFormatter(_Json())
    handler.addFilter(BoundedLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries log every call that they make, at `debug` with its content, such as a Secret's.
    root.setLevel(max(Threshold.level, logging.WARNING))
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable
    atexit.register(STANDARD_ERROR.finish)


def complain(program: str, error: Exception) -> None:
    """Writes why the program ends: a line of the log, or, before `configure`, a text for the terminal."""
    if sys.excepthook is _uncaught:
        _log.critical("the program ends", error=str(error))
    else:
        sys.stderr.write(f"{program}: {error}\n")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("the program ends by an error that nobody caught", exc_info=(kind, error, trace))


def _uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None:
        _log.critical(
            "a thread ended by an error that nobody caught",
            thread=failed.thread.name if failed.thread else None,
            exc_info=(failed.exc_type, failed.exc_value, failed.exc_traceback),
        )


def _unraisable(failed: sys.UnraisableHookArgs) -> None:
    # Raised where nobody can catch it: in a destructor, or while the garbage is collected.
    _log.error(
        failed.err_msg or "an error was ignored",
        object=repr(failed.object)[:_LONGEST_OBJECT],
        exc_info=failed.exc_value,
    )
