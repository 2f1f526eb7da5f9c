"""One process of a container: its output, and the wait for its end."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import until
from vkube.runner.process import Command, Process


async def started(code: str, directory: Path, on_line: Callable[[str], None] = print) -> Process:
    return await Process.start(Command(["sh", "-c", code], dict(os.environ), directory), on_line)


async def test_a_wait_that_is_cancelled_while_the_output_ends_is_cancelled(tmp_path: Path) -> None:
    """A startup probe often ends at the moment at which its container does, which cancels it. Where that was
    lost, it went on probing, and the Pod did not end."""
    process = await started("true", tmp_path)
    process._reading = reading = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    waiting = asyncio.create_task(process.wait())
    await until("that it waits for the output", lambda: reading._callbacks)
    reading.set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_last_output_is_told_although_this_program_waited_for_the_processor_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkube.runner.process._LAST_OUTPUT_SECONDS", 0.2)
    lines: list[str] = []
    process = await started("until [ -e go ]; do sleep 0.01; done; echo last", tmp_path, lines.append)
    process._output.pause_reading()
    (tmp_path / "go").touch()
    waiting = asyncio.create_task(process.wait())
    await until("that it waits for the output", lambda: process._reading._callbacks)
    process._output.resume_reading()
    time.sleep(0.5)  # noqa: ASYNC251 - the event loop stands still
    assert await waiting == 0
    assert lines == ["last"]


async def test_a_descendant_that_holds_the_output_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vkube.runner.process._LAST_OUTPUT_SECONDS", 0.2)
    lines: list[str] = []
    process = await started("setsid env -i sleep 600 & echo $!", tmp_path, lines.append)
    assert await process.wait() == 0
    (descendant,) = lines
    os.kill(int(descendant), signal.SIGKILL)
