"""Event loops whose end waits for no name server.

asyncio and uvloop resolve names in threads that they wait for when they end: a resolver that gets no answer
from a name server takes ten seconds and more, and so would the program after SIGTERM.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from service.threads import in_daemon_thread

_MOST_AT_ONCE = 16
_Loop = TypeVar("_Loop", bound=asyncio.AbstractEventLoop)
_free = threading.Semaphore(_MOST_AT_ONCE)


def event_loop(make: Callable[[], _Loop]) -> _Loop:
    """A new event loop of `make`, which resolves names in daemon threads."""
    loop = make()
    loop.getaddrinfo = _getaddrinfo  # type: ignore[method-assign]  # all else is the loop's own
    return loop


async def _getaddrinfo(host: Any, port: Any, **options: int) -> Any:
    """As `socket.getaddrinfo`. Raises socket.gaierror, also when too many names are being resolved."""
    if not _free.acquire(blocking=False):
        raise socket.gaierror(socket.EAI_AGAIN, "other names are still being resolved")
    try:
        return await in_daemon_thread("name-resolution", partial(_resolved, host, port, options))
    except RuntimeError:  # no thread could be started
        _free.release()
        raise


def _resolved(host: Any, port: Any, options: dict[str, int]) -> Any:
    try:
        return socket.getaddrinfo(host, port, **options)
    finally:
        _free.release()
