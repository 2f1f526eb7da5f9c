"""Certificates in directories, for local mode: one directory for each name, mode 0700, files 0600."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from certs.store import Stored, VersionConflict


class DirectoryStore:
    """A store for a single writer: it notices another writer's change, but does not lock it out."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def directory(self, name: str) -> Path:
        """The directory with the files of `name`, for programs that read files."""
        return self._root / name

    def read(self, name: str) -> Stored | None:
        directory = self.directory(name)
        if not directory.is_dir():
            return None
        files = {path.name: path.read_text() for path in sorted(directory.iterdir())}
        return Stored(files, _version(files))

    def write(self, name: str, files: Mapping[str, str], over: Stored | None) -> None:
        found = self.read(name)
        if (found and found.version) != (over and over.version):
            raise VersionConflict(f"{self.directory(name)} changed while it was being renewed")
        self.directory(name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for file_name, text in files.items():
            _replace(self.directory(name) / file_name, text)
        for file_name in set(found.files if found else ()) - set(files):
            (self.directory(name) / file_name).unlink()


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.rename(path)


def _version(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in files.items():
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()
