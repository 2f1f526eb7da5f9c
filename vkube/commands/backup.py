"""`vkube backup` and `vkube restore`: the cluster agent's keys and store."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import IO

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import VkubeError
from vkube.installation.data import Backup, archive, restored
from vkube.output.lines import note, result


def backup(parser: argparse.ArgumentParser) -> Run:
    """Copy the cluster agent's keys and store into a file, while it runs: from SQLite and from PostgreSQL.
    The file contains the keys, a root that the agent made included: protect it as you would a CA's
    key. It needs the right to create pods/exec."""
    parser.add_argument("file", help="new, a tar archive; - is standard output")
    shared.cluster(parser)
    return _backup


def restore(parser: argparse.ArgumentParser) -> Run:
    """Replace the cluster agent's keys and store by a backup. It stops the agent, restores in a Pod of the
    same image, and starts the agent again. What was revoked or forgotten after the backup stays so, if the
    store that was there can be read; what else changed since is listed. An archive that is not whole changes
    nothing."""
    parser.add_argument("file", type=Path, help="what vkube backup wrote")
    parser.add_argument(
        "--wait-timeout", type=shared.whole(1), default=300, metavar="SECONDS", help="of each step (300)"
    )
    shared.cluster(parser)
    return _restore


def _backup(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        if options.file == "-":
            archive(cluster, sys.stdout.buffer)
            return
        found = _into(cluster, Path(options.file))
    result(f"{options.file} has the store of {found.at}, and {', '.join(found.keys) or 'no key'}")


def _into(cluster: Cluster, path: Path) -> Backup:
    """Writes the file, which is there when all of it is durable."""
    if path.exists():
        raise VkubeError(f"{path} exists; name a new file")
    beside = path.with_name(f".{path.name}.unfinished")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            archive(cluster, file)
            file.flush()
            os.fsync(file.fileno())
            found = Backup.read(file, str(path))
        beside.rename(path)
    except OSError as error:
        raise VkubeError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)
    return found


def _restore(options: argparse.Namespace) -> None:
    try:
        with options.file.open("rb") as file, Cluster.of(options) as cluster:
            _restore_from(cluster, file, options)
    except OSError as error:
        raise VkubeError(f"cannot read {options.file}: {error.strerror or error}") from error


def _restore_from(cluster: Cluster, file: IO[bytes], options: argparse.Namespace) -> None:
    found = Backup.read(file, str(options.file))
    note(f"{options.file} has the store of {found.at}, and {', '.join(found.keys) or 'no key'}")
    for line in restored(cluster, found, file, options.wait_timeout):
        result(line)
