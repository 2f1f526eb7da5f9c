"""`vkube logs`: what the parts of the product log."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from queue import Queue
from typing import Any

from vkube.admission.injected import has_volume
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import NotFoundError, UsageError, VkubeError
from vkube.output.lines import note
from vkube.workloads.template import COLLECTIONS
from webhook.layout import CONTAINER

PARTS = ("cluster-agent", "webhook")
_LINES = 500
# A reader that is slower than the logs makes their Pods wait, not this process grow.
_QUEUED = 1000
_LONGEST_LINE = 64 * 1024


def logs(parser: argparse.ArgumentParser) -> Run:
    """Print the log of a part of the control plane, of all its Pods, or of the pod agent in a Pod."""
    parser.add_argument("subject", metavar="cluster-agent|webhook|pod", help="whose log")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is logged, until Ctrl-C")
    parser.add_argument(
        "--tail", type=shared.whole(0, 100_000), default=_LINES, help=f"last lines ({_LINES})"
    )
    parser.add_argument("--since", type=shared.moment, metavar="TIME", help="10m, 7d, 2026-11-24 or a time")
    parser.add_argument(
        "-p", "--previous", action="store_true", help="of the container before its last restart"
    )
    shared.namespace(parser)
    shared.cluster(parser)
    return _logs


def _logs(options: argparse.Namespace) -> None:
    if options.follow and options.previous:
        raise UsageError("--follow: a previous container logs nothing more; leave out --previous")
    query: dict[str, object] = {"tailLines": options.tail, "previous": options.previous}
    if options.since:
        query["sinceSeconds"] = max(1, int((datetime.now(UTC) - options.since).total_seconds()))
    with Cluster.of(options) as cluster:
        if options.subject in PARTS:
            paths = _part(cluster, options)
        else:
            query["container"] = CONTAINER
            paths = [f"{COLLECTIONS['Pod'].format(cluster.namespace)}/{options.subject}"]
            if has_volume(_pod(cluster, paths[0], options.subject)):
                raise UsageError(
                    f"{options.subject} has no pod agent that would log: the kubelet keeps its identity in a "
                    f"volume. See vkube events {options.subject} -n {cluster.namespace}"
                )
        if not options.follow:
            for path in paths:
                _headed(path, paths)
                _write(cluster.text("GET", f"{path}/log", query=query))
            return
    for path in paths:
        _headed(path, paths)
    for text in _followed(options, paths, {**query, "follow": True}):
        _write(text)


def _part(cluster: Cluster, options: argparse.Namespace) -> list[str]:
    """The paths of the Pods of a part of the control plane."""
    if options.namespace not in (None, cluster.system):
        raise UsageError(
            f"{options.subject} is in the namespace {cluster.system}; -n is for the log of a Pod"
        )
    collection = COLLECTIONS["Pod"].format(cluster.system)
    found = cluster.items(collection, labelSelector=f"app.kubernetes.io/name={options.subject}")
    paths = [f"{collection}/{pod['metadata']['name']}" for pod in found]
    if not paths:
        raise NotFoundError(f"no Pod of {options.subject} is in the namespace {cluster.system}")
    return paths


def _pod(cluster: Cluster, path: str, name: str) -> dict[str, Any]:
    found = cluster.find(path)
    if found is None:
        parts = " and ".join(PARTS)
        raise NotFoundError(
            f"there is no Pod {name} in the namespace {cluster.namespace}; the parts are {parts}"
        )
    return found


def _headed(path: str, paths: Sequence[str]) -> None:
    if len(paths) > 1:
        note(f"== {path.rpartition('/')[2]}")


def _followed(options: argparse.Namespace, paths: Sequence[str], query: dict[str, object]) -> Iterator[str]:
    """Whole lines of all these Pods, as they are logged, until every log has ended. Raises VkubeError."""
    queue: Queue[str | VkubeError | None] = Queue(_QUEUED)

    def follow(path: str) -> None:
        try:
            with Cluster.of(options) as cluster:  # of its own: a connection belongs to one thread
                for text in whole_lines(cluster.stream(f"{path}/log", query=query)):
                    queue.put(text)
        except VkubeError as error:
            queue.put(error)
        queue.put(None)

    for path in paths:
        threading.Thread(target=follow, args=(path,), daemon=True).start()
    running = len(paths)
    while running:
        found = queue.get()
        if isinstance(found, VkubeError):
            raise found
        if found is None:
            running -= 1
        else:
            yield found


def whole_lines(parts: Iterable[str]) -> Iterator[str]:
    """The text in whole lines. One that is too long is cut: a Pod that never ends its line must not make this
    process grow."""
    rest = ""
    for part in parts:
        whole, newline, rest = (rest + part).rpartition("\n")
        if newline:
            yield whole + newline
        if len(rest) > _LONGEST_LINE:
            yield rest + "\n"
            rest = ""
    if rest:
        yield rest + "\n"


def for_terminal(text: str) -> str:
    """Without control characters: a pod author may choose the pod agent's image, and so what it logs."""
    return "".join(one if one.isprintable() or one in "\n\t" else "�" for one in text)


def _write(text: str) -> None:
    sys.stdout.write(for_terminal(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
