"""Directories for what runs beside a test, found and removed even when the process that made them crashed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 1 << 30
# One that has no lock yet is being made, or its maker was killed at that moment.
_MAKING_SECONDS = 60


class OwnedDirectory:
    """A new directory that belongs to this process; `clean` leaves it alone until the process is gone."""

    def __init__(self, prefix: str, parent: Path) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._lock = (self.path / "lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if (self.path / "lock").exists():
                break
            self._lock.close()  # another's `clean` had it before us, and took the directory for nobody's

    def remove(self) -> None:
        shutil.rmtree(self.path)
        self._lock.close()


def in_memory() -> Path:
    """Memory where there is some to be had as a directory, for what writes much; else where others go."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ENOUGH_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def for_overlays() -> Path | None:
    """A directory in which an overlay's upper layer can lie: the temporary one, or memory; None without one.

    An overlay cannot lie on an overlay, which is what a container's own files are.
    """
    candidates = (Path(tempfile.gettempdir()), _MEMORY)
    return next((one for one in candidates if one.is_dir() and _file_system(one) != "overlayfs"), None)


def clean(prefix: str, before: Callable[[Path], None] = lambda _: None) -> None:
    """Removes the directories that no process owns any longer, each after `before` was called with it."""
    for directory in _found(prefix):
        try:
            lock = (directory / "lock").open("rb")
        except FileNotFoundError:
            _remove_if_old(directory)
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # its owner lives
            if directory.exists():  # else another's `clean` was faster
                before(directory)
                shutil.rmtree(directory)


def _remove_if_old(directory: Path) -> None:
    try:
        if time.time() - directory.stat().st_mtime > _MAKING_SECONDS:
            shutil.rmtree(directory)
    except FileNotFoundError:
        return  # its owner, or another's `clean`, was removing it


def _found(prefix: str) -> Iterable[Path]:
    for parent in {Path(tempfile.gettempdir()), _MEMORY}:
        yield from parent.glob(f"{prefix}*")


def _file_system(path: Path) -> str:
    asked = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True)
    return asked.stdout.strip()
