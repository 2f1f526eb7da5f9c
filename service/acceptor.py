"""Accepts connections: a background task of a listener, in a program whose connections have limits.

    acceptor = Acceptor("connections", listening, admit)
    supervisor.add(acceptor.task)
    async with supervisor.running():
        ...
        await acceptor.stop()

An error costs one connection, and ends neither the task nor the listening.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

from service.supervisor import BackOff, Task

Admit: TypeAlias = Callable[[socket.socket, Any], None]
"""Takes an accepted connection, and its client's address as the socket module gives it."""

# How long a round waits for a connection; none needs to come.
_WAIT_SECONDS = 30.0
_UNREADY_SECONDS = 120.0
_AGAIN_SECONDS = 0.5


class Acceptor:
    """Gives each connection to `admit`, one in a round, so that everything else goes on during a flood."""

    def __init__(self, name: str, listening: socket.socket, admit: Admit) -> None:
        """`name` is the task's."""
        listening.setblocking(False)
        self._listening = listening
        self._admit = admit
        # Outlives a round: cancelling it could lose a connection that it has just accepted.
        self._accepting: asyncio.Task[tuple[socket.socket, Any]] | None = None
        self._stopped = False
        self.task = Task(
            name,
            self.accept,
            period=0.0,
            failure="connection not accepted",
            # The process has no descriptors or memory left.
            expected=(OSError,),
            unready_after_seconds=_UNREADY_SECONDS,
            back_off=BackOff(_AGAIN_SECONDS, _AGAIN_SECONDS),
        )

    async def accept(self) -> float | None:
        """Accepts one connection, if one comes."""
        if self._stopped:
            return _WAIT_SECONDS
        if self._accepting is None:
            loop = asyncio.get_running_loop()
            self._accepting = asyncio.create_task(loop.sock_accept(self._listening))
        await asyncio.wait([self._accepting], timeout=_WAIT_SECONDS)
        if self._accepting is not None and self._accepting.done():
            accepted, self._accepting = self._accepting, None
            with suppress(ConnectionAbortedError):  # by its client, which must not make the others wait
                self._admit(*accepted.result())
        return None

    async def stop(self) -> None:
        """Accepts no more connections, and leaves the listening socket open."""
        self._stopped = True
        accepting, self._accepting = self._accepting, None
        if accepting is None:
            return
        accepting.cancel()
        await asyncio.wait([accepting])
        if not accepting.cancelled() and accepting.exception() is None:
            self._admit(*accepting.result())
