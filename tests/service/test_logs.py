"""Every line of the log is one JSON object, whoever wrote it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, threading, warnings
{imports}

early = get_logger("early")
configure("info")
early.info("ours", secret="\\ud800\\n", number=1)
early.debug("too quiet")
logging.getLogger("library").warning("a\\nlibrary's: %s", "x")
logging.getLogger("library").info("too quiet")
logging.getLogger("shown").setLevel(logging.INFO)
logging.getLogger("shown").info("shown", extra={"color_message": "\\x1b[1m"})
warnings.warn("of Python")
try:
    1 / 0
except ZeroDivisionError:
    early.exception("ours, with a traceback")
    logging.getLogger("library").exception("a library's, with a traceback")

def fail():
    raise OSError("in a thread")

class Dying:
    def __del__(self):
        raise OSError("in a destructor")

Dying()
thread = threading.Thread(target=fail, name="worker")
thread.start()
thread.join()
raise LookupError("at the end")
"""


LOGGERS = [
    "from service.log import get_logger; from service.logs import configure",
    "from structlog import get_logger; from service.structlog_lines import configure",
]


def lines(imports: str) -> list[dict[str, Any]]:
    program = PROGRAM.replace("{imports}", imports)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    return [json.loads(line) for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("imports", LOGGERS)
def test_every_line_is_json_whoever_wrote_it(imports: str) -> None:
    written = lines(imports)
    assert [(line["level"], line.get("logger"), line["event"].split("\n")[0][:40]) for line in written] == [
        ("info", "early", "ours"),
        ("warning", "library", "a"),
        ("info", "shown", "shown"),
        ("warning", "py.warnings", "<string>:13: UserWarning: of Python"),
        ("error", "early", "ours, with a traceback"),
        ("error", "library", "a library's, with a traceback"),
        ("error", "service.logs", "an error was ignored"),
        ("critical", "service.logs", "a thread ended by an error that nobody c"),
        ("critical", "service.logs", "the program ends by an error that nobody"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in written)
    assert (written[0]["secret"], written[0]["number"]) == ("\ud800\n", 1)
    assert "color_message" not in written[2]
    raised = [line["exception"].splitlines()[-1] for line in written if "exception" in line]
    assert raised == [
        "ZeroDivisionError: division by zero",
        "ZeroDivisionError: division by zero",
        "OSError: in a destructor",
        "OSError: in a thread",
        "LookupError: at the end",
    ]
    assert written[7]["thread"] == "worker"


PROGRAM_THAT_ENDS = """
from service import logs

logs.complain("program", ValueError("a setting"))
logs.configure("info")
logs.complain("program", ValueError("later"))
"""


def test_why_a_program_ends_is_text_until_the_log_begins() -> None:
    arguments = [sys.executable, "-c", PROGRAM_THAT_ENDS]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=True)
    first, second = ended.stderr.splitlines()
    assert first == "program: a setting"
    line = json.loads(second)
    assert (line["level"], line["event"], line["error"]) == ("critical", "the program ends", "later")
