"""Unix sockets that survive a container's restart, and never follow a link or file in their place."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from service.errors import SettingsError

# sockaddr_un.sun_path, with its closing zero byte.
_LONGEST_PATH_BYTES = 107
_BACKLOG = 2048


def listen_unix(path: Path, mode: int = 0o666) -> socket.socket:
    """A listening Unix socket, open to every process that can reach its directory; with another `mode`, to
    those that it lets write.

    The socket of an earlier run is replaced. Raises SettingsError for a path that is too long, a directory
    that is not writable, or something else than a socket at `path`.
    """
    if len(str(path).encode()) > _LONGEST_PATH_BYTES:
        raise SettingsError(
            f"--socket-directory: {path} is longer than a Unix socket's {_LONGEST_PATH_BYTES} bytes"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_socket(path)
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(f"--socket-directory: cannot listen on {path}: {error.strerror}") from error
    return listener


def remove_socket(path: Path) -> None:
    """Removes the socket at `path`, if there is one. Raises SettingsError when it is something else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsError(f"--socket-directory: {path} exists and is no socket")
    path.unlink()
