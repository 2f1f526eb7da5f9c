"""A lock on a directory, so that no two pod agents serve in one: the second would remove the sockets of the
first, and replace its files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from service.errors import SettingsError

_LOCK_FILE = ".lock"


def take(directory: Path, flag: str) -> None:
    """Locks the directory as long as this process lives; the kernel frees it, also after `kill -9`.

    The file stays, and is for the agent's own user. A container that has the directory and runs as root or as
    that user can hold the lock too, and so keep the agent out when it starts again: that hurts its own Pod
    alone. Raises SettingsError, with the `flag` that names the directory, when another process has it, or
    nothing can be made there.
    """
    path = directory / _LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(
            f"{flag}: another pod agent serves in {directory}; give each a directory of its own"
        ) from error
    except OSError as error:
        raise SettingsError(f"{flag}: cannot lock {path}: {error.strerror}") from error
