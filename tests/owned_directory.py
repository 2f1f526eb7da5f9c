"""Directories for what runs beside a test, which are found and removed after a crash of whoever made them."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


class OwnedDirectory:
    """A new directory that belongs to this process; `clean` leaves it alone until the process is gone."""

    def __init__(self, prefix: str, parent: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self._lock = (self.path / "lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        shutil.rmtree(self.path)
        self._lock.close()


def clean(prefix: str, parent: str | None = None, before: Callable[[Path], None] = lambda _: None) -> None:
    """Removes the directories that nobody owns any more, each after `before` was called with it."""
    for directory in Path(parent or tempfile.gettempdir()).glob(f"{prefix}*"):
        lock_file = directory / "lock"
        if not lock_file.exists():
            continue  # being made, or not ours
        with lock_file.open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its owner lives
            before(directory)
            shutil.rmtree(directory)
