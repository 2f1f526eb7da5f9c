"""Archives in the cache: they appear whole or not at all, the latest few stay, and say how large they are."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# So that going back and forth between two states of the sources, or two checkouts, builds nothing.
_KEPT = 3


@contextmanager
def appearing_whole(archive: Path) -> Iterator[Path]:
    """A path to write to, which is renamed to `archive` at the end, and removed after a failure."""
    unfinished = archive.with_name(f"unfinished-{archive.name}")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        unfinished.rename(archive)
    finally:
        unfinished.unlink(missing_ok=True)


def use(archive: Path) -> None:
    """Notes that `NAME-KEY.tar` is used, and removes all but the last used ones of that name."""
    os.utime(archive)
    name = archive.name.rsplit("-", 1)[0]
    found = sorted(
        archive.parent.glob(f"{name}-{'[0-9a-f]' * 16}.tar"), key=lambda path: path.stat().st_mtime
    )
    for path in found[:-_KEPT]:
        path.unlink()


@dataclass(frozen=True)
class Sizes:
    """Bytes: what a registry would send, and what the layers hold once unpacked."""

    compressed: int
    unpacked: int


def layers(archive: Path) -> Iterator[tuple[int, bytes]]:
    """Of an OCI archive: each layer's compressed size, and its tar.

    https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
    """
    with tarfile.open(archive) as tar:
        for layer in json.loads(_blob(tar, _manifest_digest(tar)))["layers"]:
            yield layer["size"], gzip.decompress(_blob(tar, layer["digest"]))


def configuration(archive: Path) -> dict[str, object]:
    """What the image says of how it is run: `User`, `Entrypoint`, `Env`."""
    with tarfile.open(archive) as tar:
        manifest = json.loads(_blob(tar, _manifest_digest(tar)))
        found: dict[str, object] = json.loads(_blob(tar, manifest["config"]["digest"]))["config"]
        return found


def digest(archive: Path) -> str:
    """By which a registry would know the image: of its manifest, and so of all that it contains."""
    with tarfile.open(archive) as tar:
        return _manifest_digest(tar)


def sizes(archive: Path) -> Sizes:
    measured = [(compressed, len(unpacked)) for compressed, unpacked in layers(archive)]
    return Sizes(sum(size for size, _ in measured), sum(size for _, size in measured))


def _manifest_digest(tar: tarfile.TarFile) -> str:
    digest: str = json.loads(_read(tar, "index.json"))["manifests"][0]["digest"]
    return digest


def _blob(tar: tarfile.TarFile, digest: str) -> bytes:
    return _read(tar, f"blobs/{digest.replace(':', '/')}")


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()
