"""`vkube audit verify`: whether the audit is as it was written."""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cluster_agent.backup.archive import WITNESS
from cluster_agent.backup.restoration import Incoming, fill
from cluster_agent.errors import ClusterAgentError
from cluster_agent.store.audit_reading import AuditReading, reading_audit
from cluster_agent.store.database import connect, database_url
from cluster_agent.verify_audit import Verified, retention_arguments, verified
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster import Cluster
from vkube.errors import VkubeError
from vkube.installation.data import archive
from vkube.installation.manifests import CLUSTER_AGENT
from vkube.output.lines import note, result
from vkube.output.table import printable

Logs = dict[str, list[str]]


def verify(parser: argparse.ArgumentParser) -> Run:
    """Verify the audit against the heads that the cluster agents noted in their logs, signed: that no record
    was changed, removed, moved or added. The records are copied out of the cluster, without keys, and
    verified here. Ends with 4 when something is wrong, or when no note proves some records."""
    parser.add_argument(
        "--heads",
        type=Path,
        action="append",
        metavar="LOG",
        help="a log of the cluster agents that was kept elsewhere; repeatable. By default the logs that the "
        "cluster has, and the heads beside the store, which an intruder there may have taken back",
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        metavar="FINGERPRINT",
        help="an issuing key to trust; repeatable. Without one, notes of every key are trusted",
    )
    retention_arguments(parser)
    shared.cluster(parser)
    return _verify


def _verify(options: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="vkube-") as directory,
        (Path(directory) / "audit.tar").open("w+b") as file,
        Cluster.of(options) as cluster,
    ):
        archive(cluster, file, "--audit")
        logs = _of_cluster(cluster, file) if options.heads is None else _of_files(options.heads)
        try:
            with stored(Path(directory) / "audit.sqlite3", file) as audit:
                return shown(verified(options, audit, logs))
        except ClusterAgentError as error:
            raise VkubeError(f"the audit cannot be read: {error}") from error


def shown(found: Verified) -> int:
    """Prints the lines, and returns the exit code."""
    for line in found.lines:
        result(printable(line))
    return ExitCode.FINDINGS if found.problems or found.unproved else ExitCode.DONE


@contextmanager
def stored(path: Path, file: IO[bytes]) -> Iterator[AuditReading]:
    """The audit of an archive, in a store that is made at `path`. Raises ClusterAgentError."""
    url = f"sqlite:///{path}"
    database = connect(database_url(url))
    file.seek(0)
    try:
        with database.writing.begin() as connection:
            fill(connection, Incoming(file, None, None))
    finally:
        database.dispose()
    with reading_audit(url) as audit:
        yield audit


def _of_cluster(cluster: Cluster, file: IO[bytes]) -> Logs:
    path = f"/api/v1/namespaces/{cluster.system}/pods"
    logs = {"the heads beside the store": witness_in(file)}
    for pod in cluster.items(path, labelSelector=f"app.kubernetes.io/name={CLUSTER_AGENT}"):
        name = pod["metadata"]["name"]
        logs[f"log of {name}"] = cluster.text("GET", f"{path}/{name}/log").splitlines()
    note("compared with the heads that the cluster has; logs that are kept elsewhere (--heads) prove more")
    return logs


def witness_in(file: IO[bytes]) -> list[str]:
    """The heads that the agent noted beside its store, from an archive of its audit."""
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archived:
        found = archived.extractfile(WITNESS) if WITNESS in archived.getnames() else None
        return found.read().decode(errors="replace").splitlines() if found else []


def _of_files(names: list[Path]) -> Logs:
    try:
        return {str(name): name.read_text().splitlines() for name in names}
    except (OSError, UnicodeDecodeError) as error:
        raise VkubeError(f"--heads: {error}") from error
