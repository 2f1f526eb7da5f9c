"""One process of a container, and who waits for its end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.waiting import until
from vkube.runner.process import Command, Process


async def test_a_wait_that_is_cancelled_while_the_output_ends_is_cancelled(tmp_path: Path) -> None:
    """A startup probe often ends at the moment at which its container does, which cancels it. Where that was
    lost, it went on probing, and the Pod did not end."""
    process = await Process.start(Command(["true"], dict(os.environ), tmp_path), print)
    process._reading = reading = asyncio.get_running_loop().create_future()  # type: ignore[assignment]
    waiting = asyncio.create_task(process.wait())
    await until("that it waits for the output", lambda: reading._callbacks)
    reading.set_result(None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
