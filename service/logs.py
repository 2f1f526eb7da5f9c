"""The log: one JSON object per line on stderr, whether our code, a library or the interpreter writes it."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

import structlog
from structlog.typing import Processor

from service.bounded_log import BoundedLines

_LONGEST_OBJECT = 200
_log = structlog.get_logger(__name__)


class _Writer(structlog.WriteLogger):
    """Writes lines for `get_logger(name)`."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(sys.stderr)
        self.name = name


def configure(level: str) -> None:
    """Writes what this program logs from `level` (`debug` … `error`) up, and warnings of its libraries, these
    at a bounded rate.

    Warnings of Python and uncaught errors, in a thread too, also become such lines.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Writer,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(BoundedLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries log every call that they make, at `debug` with its content, such as a Secret's.
    root.setLevel(max(number, logging.WARNING))
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


def complain(program: str, error: Exception) -> None:
    """Writes why the program ends: a line of the log, or, before `configure`, a text for the terminal."""
    if structlog.is_configured():
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
