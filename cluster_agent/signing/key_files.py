"""The agent's signing keys, as files.

`root.pem` and `bootstrap.pem` contain a key and its certificate, `issuing.pem` contains a key. A single
replica makes the missing files in its data directory, with mode 0600. Each file is written completely or not
at all, so an interrupted first start can be repeated. Replicas that share a database read the same keys from
a directory that they do not write to: a mounted Secret.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from blessings import Authority, Blessing, BlessingsError, Name, Principal
from blessings.granting.trial import check_root
from cluster_agent.errors import DataDirectoryError
from cluster_agent.signing.room import BOOTSTRAP_ROOT, ROOT_LIFETIME, IdentityAuthority, SigningRoom

ROOT, ISSUING, BOOTSTRAP = "root.pem", "issuing.pem", "bootstrap.pem"


def make_signing_room(directory: Path, root_name: Name, *, now: datetime) -> SigningRoom:
    """The keys in `directory`; missing ones are made (quick start).

    Raises DataDirectoryError when a file cannot be used, or its root has another name.
    """
    make_directory(directory)
    if not _first_root(directory).exists():
        _create_if_missing(directory / ROOT, partial(_new_authority, root_name, now))
    _make_own_keys(directory, now)
    return read_signing_room(directory, root_name)


def read_signing_room(directory: Path, root_name: Name) -> SigningRoom:
    """The keys in `directory`; none is made.

    Raises DataDirectoryError when a file is missing or cannot be used, or its root has another name.
    """
    path = _first_root(directory)
    root = read_authority(path)
    if root.name != root_name:
        raise DataDirectoryError(
            f"{path} is the root {root.name}, the name prefix asks for {root_name}; "
            "use another data directory, or the prefix that this one was made for"
        )
    return _room(directory, IdentityAuthority.of_root(root))


def make_claimable_room(directory: Path, *, now: datetime) -> SigningRoom:
    """The keys in `directory` without the root, which stays with the administrator who claims the agent.
    Missing keys are made.

    Raises DataDirectoryError when a file cannot be used, or there is a root.
    """
    make_directory(directory)
    _check_no_root(directory)
    _make_own_keys(directory, now)
    return read_claimable_room(directory)


def read_claimable_room(directory: Path) -> SigningRoom:
    """The keys in `directory` without the root; none is made.

    Raises DataDirectoryError when a file is missing or cannot be used, or there is a root.
    """
    _check_no_root(directory)
    return _room(directory, None)


def mounted_room(
    directory: Path, identity: IdentityAuthority, *, makes_keys: bool, now: datetime
) -> SigningRoom:
    """The agent's own keys in `directory`, made if allowed, and a mounted issuing certificate to sign with.

    Raises DataDirectoryError when a file cannot be used.
    """
    if makes_keys:
        make_directory(directory)
        _make_own_keys(directory, now)
    return _room(directory, identity, mounted=True)


def _room(directory: Path, given: IdentityAuthority | None, *, mounted: bool = False) -> SigningRoom:
    issuing, bootstrap = _principal(directory / ISSUING), read_authority(directory / BOOTSTRAP)
    return SigningRoom(given, issuing, bootstrap, mounted)


def _check_no_root(directory: Path) -> None:
    if _first_root(directory).exists():
        raise DataDirectoryError(
            f"{_first_root(directory)} is a root of the agent's own, and it is to be claimed by an "
            "administrator's; start without --claim required, or with another directory"
        )


def own_keys(directory: Path) -> list[str]:
    """The names of the key files that are there."""
    return sorted(path.name for path in directory.glob("*.pem"))


def require_keys(directory: Path, *, root: bool) -> None:
    """Raises DataDirectoryError when a key that a store belongs to is not there."""
    own = [directory / ISSUING, directory / BOOTSTRAP]
    for path in [*own, _first_root(directory)] if root else own:
        if not path.exists():
            raise DataDirectoryError(
                f"{path} is missing, and the store beside it belongs to that key: restore it "
                "(docs/operations.md, Back up and restore); no other key is made in its place"
            )


def make_directory(directory: Path) -> None:
    """Makes the directory if it is missing. Raises DataDirectoryError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataDirectoryError(f"cannot make the data directory {directory}: {error}") from error


def _make_own_keys(directory: Path, now: datetime) -> None:
    _create_if_missing(directory / BOOTSTRAP, partial(_new_authority, BOOTSTRAP_ROOT, now))
    _create_if_missing(directory / ISSUING, lambda: Principal.create().to_pem().decode())


def _first_root(directory: Path) -> Path:
    """One of the agent's roots there; after a rotation it has another file name than the first root."""
    later = sorted(directory.glob("root-*.pem"))
    return directory / ROOT if (directory / ROOT).exists() or not later else later[0]


def _new_authority(name: Name, now: datetime) -> str:
    authority = Authority.create_root(name, Principal.create(), now=now, lifetime=ROOT_LIFETIME)
    return authority.principal.to_pem().decode() + authority.blessing.to_pem()


def read_authority(path: Path) -> Authority:
    """The key and certificate in the file at `path`. Raises DataDirectoryError."""
    text = _read(path)
    try:
        authority = Authority(Principal.from_pem(text.encode()), Blessing.from_pem(text))
        check_root(authority)
    except BlessingsError as error:
        raise DataDirectoryError(f"{path} contains no usable root key and certificate: {error}") from error
    return authority


def _principal(path: Path) -> Principal:
    text = _read(path)
    try:
        return Principal.from_pem(text.encode())
    except BlessingsError as error:
        raise DataDirectoryError(f"{path} contains no usable key: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise DataDirectoryError(
            f"{path} is missing; make the keys once with cluster-agent-keys, and give them to every replica"
        ) from error
    except OSError as error:
        raise DataDirectoryError(f"cannot read {path}: {error}") from error


def _create_if_missing(path: Path, create: Callable[[], str]) -> None:
    if not path.exists():
        write_durably(path, create())


def write_durably(path: Path, text: str) -> None:
    """Writes a new file; one that another process wrote meanwhile stays. Raises DataDirectoryError."""
    try:
        _write_and_sync(path, text)
    except OSError as error:
        raise DataDirectoryError(f"cannot make {path}: {error}") from error


def replace_durably(path: Path, text: str) -> None:
    """Writes a file in place of the previous one. Raises DataDirectoryError."""
    try:
        with _unfinished(path, text) as unfinished:
            unfinished.rename(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise DataDirectoryError(f"cannot write {path}: {error}") from error


def _write_and_sync(path: Path, text: str) -> None:
    with _unfinished(path, text) as unfinished, suppress(FileExistsError):
        path.hardlink_to(unfinished)
    _sync_directory(path.parent)


@contextmanager
def _unfinished(path: Path, text: str) -> Iterator[Path]:
    """A file beside `path` with that content, durable; it is removed unless it was renamed."""
    unfinished = path.with_suffix(f".{secrets.token_hex(8)}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def delete_durably(path: Path) -> None:
    """Deletes the file. Raises DataDirectoryError when it cannot."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise DataDirectoryError(f"cannot delete {path}: {error}") from error


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
