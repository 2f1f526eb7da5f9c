"""A directory whose files change all at once, in the way of the kubelet's AtomicWriter.

    ..x7k2/tls.crt       the files of one version
    ..data -> ..x7k2     one renaming of this link is the change
    tls.crt -> ..data/tls.crt
    updated              written after each change: a file that programs can watch alone

Watchers that know the volumes of Secrets (Envoy's `watched_directory`, Java's, inotify on the directory) see
the renaming. The previous version stays until the next change: a reader that has resolved `..data` finds all
files of that version.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

_LINK, _NEW_LINK, _TOUCHED = "..data", "..data_tmp", "updated"


def swap(directory: Path, files: Mapping[str, bytes], *, mode: int, group: int | None, now: datetime) -> None:
    """Replaces the files in `directory`, which no other process writes to.

    With `group` None they get the group of the process, or of the directory if it hands its own down
    (setgid). Raises OSError.
    """
    link = directory / _LINK
    before = link.readlink().name if link.is_symlink() else None
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    try:
        # It keeps the bit by which the directory hands down its group.
        fresh.chmod(0o755 | (fresh.stat().st_mode & stat.S_ISGID))
        for name, content in files.items():
            _write(fresh / name, content, mode, group)
        _point(link, fresh.name)
    except OSError:
        # Where the volume is full, what is left of each attempt would keep it so.
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path(_LINK, name))
    _touch(directory / _TOUCHED, now)
    _remove_versions(directory, {fresh.name, before})


def _point(link: Path, version: str) -> None:
    new_link = link.with_name(_NEW_LINK)
    new_link.unlink(missing_ok=True)
    new_link.symlink_to(version)
    new_link.rename(link)


def _write(path: Path, content: bytes, mode: int, group: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if group is not None:
            os.fchown(descriptor, -1, group)
        os.fchmod(descriptor, mode)
        file.write(content)


def _touch(path: Path, now: datetime) -> None:
    """Writes the time in place, always the same number of bytes, so that no reader sees a part."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(descriptor, 0o644)
        os.pwrite(descriptor, f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}\n".encode(), 0)
    finally:
        os.close(descriptor)


def _remove_versions(directory: Path, kept: set[str | None]) -> None:
    for entry in os.scandir(directory):
        if entry.name.startswith("..") and entry.is_dir(follow_symlinks=False) and entry.name not in kept:
            shutil.rmtree(entry.path)
