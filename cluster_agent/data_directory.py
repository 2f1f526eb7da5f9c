"""The agent's data directory: its keys as files of mode 0600, and the store.

`root.pem` and `bootstrap.pem` hold a key and its certificate, `issuing.pem` a key. Each is written whole or
not at all, so an interrupted first start can be started again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from blessings import Authority, Blessing, BlessingsError, Name, Principal
from cluster_agent.errors import DataDirectoryError
from cluster_agent.signing import BOOTSTRAP_ROOT, ROOT_LIFETIME, SigningRoom
from cluster_agent.store import SqliteStore


def open_store(directory: Path) -> SqliteStore:
    """The store in `directory`. Raises DataDirectoryError."""
    return SqliteStore(directory / "cluster-agent.sqlite3")


def open_signing_room(directory: Path, root_name: Name, *, now: datetime) -> SigningRoom:
    """The keys in `directory`; what is missing is made (quick start).

    Raises DataDirectoryError when a file cannot be used, or its root has another name.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(f"cannot make the data directory {directory}: {error}") from error
    root = _authority(directory / "root.pem", root_name, now)
    if root.name != root_name:
        raise DataDirectoryError(
            f"{directory / 'root.pem'} is the root {root.name}, the name prefix asks for {root_name}; "
            "use another data directory, or the prefix that this one was made for"
        )
    return SigningRoom(
        root=root,
        issuing=_principal(directory / "issuing.pem"),
        bootstrap=_authority(directory / "bootstrap.pem", BOOTSTRAP_ROOT, now),
    )


def _authority(path: Path, name: Name, now: datetime) -> Authority:
    def create() -> str:
        authority = Authority.create_root(name, Principal.create(), now=now, lifetime=ROOT_LIFETIME)
        return authority.principal.to_pem().decode() + authority.blessing.to_pem()

    text = _read_or_create(path, create)
    try:
        return Authority(Principal.from_pem(text.encode()), Blessing.from_pem(text))
    except BlessingsError as error:
        raise DataDirectoryError(f"{path} holds no usable root key and certificate: {error}") from error


def _principal(path: Path) -> Principal:
    text = _read_or_create(path, lambda: Principal.create().to_pem().decode())
    try:
        return Principal.from_pem(text.encode())
    except BlessingsError as error:
        raise DataDirectoryError(f"{path} holds no usable key: {error}") from error


def _read_or_create(path: Path, create: Callable[[], str]) -> str:
    try:
        if not path.exists():
            _write_durably(path, create())
        return path.read_text()
    except OSError as error:
        raise DataDirectoryError(f"cannot use {path}: {error}") from error


def _write_durably(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
