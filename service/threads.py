"""Blocking calls, run beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


async def in_daemon_thread(name: str, call: Callable[[], _T]) -> _T:
    """Runs `call` in a new thread, and returns or raises what it does.

    Unlike with `asyncio.to_thread`, neither a cancellation nor the end of the program waits for the call: one
    that reads from a silent server would delay a shutdown for minutes.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not done.done():
            outcome()

    def work() -> None:
        try:
            outcome = partial(done.set_result, call())
        except StopIteration as error:  # a future cannot hold it
            outcome = partial(done.set_exception, RuntimeError(f"the call raised {error!r}"))
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            outcome = partial(done.set_exception, error)
        # The loop is closed: the program has ended, and nothing waits for the result.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await done
