"""Standard error as the stream of the log. Writing to it never waits.

A container's standard error is a pipe that the container's runtime reads. When the runtime stops reading,
because the node's disk is full or its log driver hangs, the pipe is full after 64 KiB. A plain write would
then wait, and with it the event loop and every answer.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final

from service.log import get_logger

_MOST_BYTES: Final = 1 << 20
_LAST_SECONDS: Final = 1.0

_log = get_logger(__name__)


class LogStream:
    """Writes lines to a file descriptor, in their order.

    Lines for which the descriptor has no room are kept, and a thread waits for room. The thread exists only
    while lines are kept, because a change of threads takes longer than an admission. Lines beyond
    `most_bytes` are lost.

    Attributes:
        lost: how many lines were lost since the start.
    """

    def __init__(self, descriptor: int, most_bytes: int = _MOST_BYTES) -> None:
        self.descriptor = descriptor
        self._most_bytes = most_bytes
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        # Reentrant: the garbage collector can run within `write`, and log the error of a destructor. What it
        # logs waits in `_arrived` for its turn.
        self._lock = threading.RLock()
        self._busy = False
        self._arrived: deque[bytes] = deque()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._told = 0
        self._writer: threading.Thread | None = None
        self.lost = 0

    def write(self, lines: str) -> None:
        """Writes whole lines, keeps them, or counts them as lost. Raises nothing."""
        with self._lock:
            self._arrived.append(lines.encode("ascii", "backslashreplace"))
            if self._busy:
                return
            self._busy, lost = True, self.lost
            try:
                self._take_arrived()
            finally:
                self._busy = False
            # Where this line was lost, so would be the one that tells it.
            told = 0 if self._kept or self.lost > lost else lost - self._told
            self._told += told
        if told:
            _log.warning("lines of the log were lost", lines=told)

    def finish(self, seconds: float = _LAST_SECONDS) -> None:
        """Waits, at the end of the program, until the kept lines are written, for so long at most."""
        if (writer := self._writer) is not None:
            writer.join(seconds)

    def _take_arrived(self) -> None:
        while self._arrived:
            content = self._arrived.popleft()
            rest = content if self._kept else self._written(content)
            if rest:
                self._keep(rest)
            if self._kept and self._writer is None:
                self._write_later()

    def _written(self, content: bytes) -> bytes:
        """Writes as much as there is room for, and returns the rest."""
        while content and self._room.poll(0):
            try:
                # With room, a pipe takes so much without waiting.
                written = os.write(self.descriptor, content[: select.PIPE_BUF])
            except BlockingIOError:
                break
            except OSError:  # such as a full disk, or a reader that has ended
                self._lose(content)
                return b""
            content = content[written:]
        return content

    def _keep(self, content: bytes) -> None:
        # The rest of a line that is written in part has nothing before it, and is kept whatever its length.
        if self._kept and self._kept_bytes + len(content) > self._most_bytes:
            self._lose(content)
        else:
            self._kept.append(content)
            self._kept_bytes += len(content)

    def _lose(self, content: bytes) -> None:
        self.lost += content.count(b"\n")

    def _write_later(self) -> None:
        self._writer = threading.Thread(target=self._write_kept, name="log", daemon=True)
        try:
            self._writer.start()
        except RuntimeError:  # the process may have no more threads, or ends
            self._writer = None
            lost = self._kept.pop()
            self._kept_bytes -= len(lost)
            self._lose(lost)

    def _write_kept(self) -> None:
        room = select.poll()  # one of its own: two threads may not wait with one
        room.register(self.descriptor, select.POLLOUT)
        while True:
            room.poll()
            with self._lock:
                self._busy = True
                try:
                    content = self._kept.popleft()
                    rest = self._written(content)
                    self._kept_bytes -= len(content) - len(rest)
                    if rest:
                        self._kept.appendleft(rest)
                    self._take_arrived()
                finally:
                    self._busy = False
                if not self._kept:
                    self._writer = None
                    return


STANDARD_ERROR: Final = LogStream(2)
"""The only one to use for file descriptor 2: it keeps lines in their order."""
