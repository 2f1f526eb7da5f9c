"""The stream of the log: a reader that stops reading holds up nobody, and what is lost is counted."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.log_stream import LogStream
from tests.service.test_logs import LOGGERS
from tests.waiting import PATIENCE_SECONDS, wait_for

_PIPE_BYTES = 4096
_LONG = "x" * 3 * _PIPE_BYTES


class Pipe:
    """A pipe of one page, and a stream that writes to it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.stream = LogStream(self.write_end, most_bytes=10 * _PIPE_BYTES)

    def read(self, lines: int) -> list[str]:
        """So many lines; waits for them."""
        found = b""
        while found.count(b"\n") < lines:
            found += os.read(self.read_end, 65_536)
        assert found.endswith(b"\n")
        return found.decode().splitlines()

    def close(self) -> None:
        # The thread, if one waits for room, ends when nobody can read.
        os.close(self.read_end)
        self.stream.finish(PATIENCE_SECONDS)
        os.close(self.write_end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "log"]


def test_a_line_is_written_at_once_without_a_thread(pipe: Pipe) -> None:
    pipe.stream.write("one\n")
    assert threads() == []
    assert pipe.read(1) == ["one"]


def test_lines_that_nobody_reads_are_kept_in_their_order_and_written_when_they_are_read(pipe: Pipe) -> None:
    written = [f"{number} {'y' * 90}" for number in range(300)]
    for line in written:
        pipe.stream.write(f"{line}\n")
    assert threads() == ["log"]
    assert pipe.read(300) == written
    wait_for("the thread's end", lambda: not threads())
    pipe.stream.write("later\n")
    assert pipe.read(1) == ["later"]
    assert pipe.stream.lost == 0


def test_a_line_that_is_longer_than_the_pipe_is_not_torn(pipe: Pipe) -> None:
    for line in (f"1{_LONG}", f"2{_LONG}", "3"):
        pipe.stream.write(f"{line}\n")
    assert pipe.read(3) == [f"1{_LONG}", f"2{_LONG}", "3"]


def test_lines_beyond_what_is_kept_are_lost_and_counted_and_the_log_tells_it_once(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10):
        pipe.stream.write(f"{number}{_LONG}\n")
    # 12 KiB each: one page of the first is in the pipe, and ten pages may wait.
    assert pipe.stream.lost == 7
    assert [line[0] for line in pipe.read(3)] == ["0", "1", "2"]
    wait_for("the thread's end", lambda: not threads())
    assert caplog.records == []
    pipe.stream.write("next\n")
    pipe.stream.write("after\n")
    assert [record.getMessage() for record in caplog.records] == ["lines of the log were lost lines=7"]
    assert pipe.read(2) == ["next", "after"]


def test_a_reader_that_has_ended_costs_lines_and_raises_nothing() -> None:
    pipe = Pipe()
    for _ in range(3):
        pipe.stream.write(f"{_LONG}\n")
    pipe.close()
    assert pipe.stream.lost == 3
    assert threads() == []


def test_what_is_logged_while_a_line_is_written_comes_after_it(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the garbage collector does, which can run anywhere, and whose errors are logged."""
    nested = iter(["second\n"])
    write = os.write

    def writing(descriptor: int, content: bytes) -> int:
        for line in nested:
            pipe.stream.write(line)
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", writing)
    pipe.stream.write(f"first{_LONG}\n")
    assert pipe.read(2) == [f"first{_LONG}", "second"]


def test_a_message_whose_arguments_do_not_fit_is_a_line_all_the_same() -> None:
    script = "from service.logs import configure; configure('info'); import logging; "
    done = subprocess.run(
        [sys.executable, "-c", f"{script}logging.getLogger('library').warning('%d pieces', 'x')"],
        stderr=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    assert json.loads(done.stderr)["event"].startswith("%d pieces (its arguments do not fit: ")


def test_with_standard_error_closed_no_file_gets_the_log(tmp_path: Path) -> None:
    """The next file that a program opens would have its number."""
    script = f"""
import logging
from service.logs import configure
configure("info")
with open({str(tmp_path / "file")!r}, "w"):
    logging.getLogger("library").warning("told")
"""
    subprocess.run(["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, script], check=True)
    assert (tmp_path / "file").read_text() == ""


_PROGRAM = """
{imports}
configure("info")
for number in range(10_000):
    get_logger("program").info("line", number=number, text="x" * 100)
open({path!r}, "w").write("done")
"""


def test_at_its_end_a_program_waits_for_what_is_not_written_yet(tmp_path: Path) -> None:
    script = """
from service.log_stream import STANDARD_ERROR
from service.logs import configure
STANDARD_ERROR.finish = lambda: print("finished")
configure("info")
"""
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout == "finished\n"


@pytest.mark.parametrize("imports", LOGGERS)
def test_a_program_whose_log_nobody_reads_goes_on_and_ends(imports: str, tmp_path: Path) -> None:
    """Both kinds of loggers: the pod agent's, and those of the webhook and the cluster agent."""
    done = tmp_path / "done"
    script = _PROGRAM.replace("{imports}", imports).replace("{path!r}", repr(str(done)))
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as program:
        assert program.stderr is not None
        try:
            assert program.wait(PATIENCE_SECONDS) == 0
        finally:
            program.kill()
        assert done.exists()
        lines = program.stderr.read().splitlines()
    assert [json.loads(line)["number"] for line in lines[:-1]] == list(range(len(lines) - 1))
