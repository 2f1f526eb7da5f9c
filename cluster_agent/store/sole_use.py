"""The lock on a data directory: two agents on one SQLite store would each make keys, and issue from a view of
their own. The kernel releases it when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster_agent.errors import DataDirectoryError

LOCK = "cluster-agent.lock"


@contextmanager
def sole_use(directory: Path) -> Iterator[None]:
    """Holds the directory. Raises DataDirectoryError while another process does."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DataDirectoryError(f"cannot lock {directory}: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DataDirectoryError(
            f"another cluster agent uses {directory}; for several, use --database-url and one set of keys"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise DataDirectoryError(f"cannot lock {directory}: {error}") from error
    try:
        yield
    finally:
        os.close(descriptor)
