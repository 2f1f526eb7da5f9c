"""Files that are replaced while a program reads them, read without a torn read.

The kubelet replaces all files of a volume at once, by renaming the symbolic link `..data`
(https://pkg.go.dev/k8s.io/kubernetes/pkg/volume/util#AtomicWriter). So this resolves that link once, reads
the files twice, and accepts them when both reads are equal. Where another program overwrites files one by
one, the result can still be half old and half new: the caller must check that a certificate and a key belong
together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from service.errors import UnreadableFile

LONGEST_FILE_BYTES = 64 * 1024
_SWAPPED = "..data"


def read(files: Sequence[Path]) -> tuple[bytes, ...] | None:
    """The contents of `files` at one point in time; None while they are being replaced.

    Raises UnreadableFile.
    """
    try:
        began = _places(files)
        try:
            first, second = _read_once(began), _read_once(began)
        except FileNotFoundError as error:
            if _places(files) != began:
                return None
            raise UnreadableFile("FileMissing", f"{error.filename} is missing") from error
        return first if first == second and _places(files) == began else None
    except OSError as error:
        raise UnreadableFile(
            "FileUnreadable", f"{error.filename} cannot be read: {error.strerror}"
        ) from error


def digest(contents: Sequence[bytes]) -> bytes:
    """A digest, to recognise contents again without keeping a key in memory."""
    return hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in contents)).digest()


def _places(files: Sequence[Path]) -> list[Path]:
    """The current paths of the files."""
    return [_place(file.parent) / file.name for file in files]


def _place(directory: Path) -> Path:
    swapped = directory / _SWAPPED
    return swapped.resolve() if swapped.is_symlink() else directory


def _read_once(files: Sequence[Path]) -> tuple[bytes, ...]:
    return tuple(_read_file(file) for file in files)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LONGEST_FILE_BYTES + 1)
    if len(content) > LONGEST_FILE_BYTES:
        raise UnreadableFile("FileTooLarge", f"{path} has more than {LONGEST_FILE_BYTES} bytes")
    return content
