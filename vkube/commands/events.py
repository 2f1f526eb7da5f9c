"""`vkube events` and `vkube logs`: what happened to one Pod, and what the parts of the product log."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError, NotFoundError, UsageError
from vkube.output.documents import document
from vkube.output.lines import note
from vkube.output.table import table
from vkube.workloads.template import COLLECTIONS, Object
from webhook.layout import BOOTSTRAP_SECRET, CONTAINER

PARTS = ("cluster-agent", "webhook")
_LINES = 500
# What the pod agent logs on its way, and what it means.
_LOGGED = {"started": "the pod agent runs", "blessed": "it has an identity"}


def events(parser: argparse.ArgumentParser) -> Run:
    """Show the way of a Pod to its identity, step by step with the time since its creation: scheduling, the
    pod agent's start, its first blessing, readiness; and the Events about it and its namespace's Secret."""
    parser.add_argument("pod", help="a Pod of the namespace")
    shared.namespace(parser)
    shared.output(parser)
    shared.cluster(parser)
    return _events


def logs(parser: argparse.ArgumentParser) -> Run:
    """Print the log of a part of the control plane, of all its Pods, or of the pod agent in a Pod."""
    parser.add_argument("subject", metavar="cluster-agent|webhook|pod", help="whose log")
    parser.add_argument(
        "--tail", type=shared.whole(1, 100_000), default=_LINES, help=f"last lines ({_LINES})"
    )
    parser.add_argument(
        "--since", type=shared.whole(1), metavar="SECONDS", help="only the last so many seconds"
    )
    parser.add_argument("--previous", action="store_true", help="of the container before its last restart")
    shared.namespace(parser)
    shared.cluster(parser)
    return _logs


def _events(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        path = f"{COLLECTIONS['Pod'].format(cluster.namespace)}/{options.pod}"
        pod = cluster.get(path)
        found = list(_of(cluster, "Pod", options.pod)) + list(_of(cluster, "Secret", BOOTSTRAP_SECRET))
        try:
            log = cluster.text("GET", f"{path}/log", query={"container": CONTAINER, "tailLines": _LINES})
        except ClusterError as error:
            log = ""
            note(f"without the pod agent's log: {error}")
    rows = steps(pod, found, log)
    shown = [{"time": at.isoformat(), "afterSeconds": after, "source": who, "what": what}
             for at, after, who, what in rows]  # fmt: skip
    text = document({"items": shown}, options.output)
    lines = [
        (at.isoformat(timespec="milliseconds"), f"{after:+.1f}s", who, what) for at, after, who, what in rows
    ]
    sys.stdout.write(table(("TIME", "AFTER", "SOURCE", "WHAT"), lines) + "\n" if text is None else text)


def _of(cluster: Cluster, kind: str, name: str) -> Iterator[Object]:
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    yield from cluster.items(f"/api/v1/namespaces/{cluster.namespace}/events", fieldSelector=selector)


def steps(pod: Object, found: list[Object], log: str) -> list[tuple[datetime, float, str, str]]:
    """The steps in order: time, seconds since the Pod's creation, source, what happened."""
    created = _time(pod["metadata"]["creationTimestamp"])
    status = pod.get("status") or {}
    rows = [(created, "Pod", "created")]
    for one in status.get("conditions") or []:
        done = one.get("status") == "True"
        if one.get("lastTransitionTime"):
            why = "" if done else f", not yet: {one.get('reason') or ''} {one.get('message') or ''}".rstrip()
            rows.append((_time(one["lastTransitionTime"]), "Pod", f"{one['type']}{why}"))
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        rows += [(at, "container", f"{one['name']}: {what}") for at, what in _container(one, created)]
    for event in found:
        at = event.get("eventTime") or event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
        rows.append((_time(at), "Event", f"{event.get('reason')}: {event.get('message')}"))
    rows += [(at, "pod agent", what) for at, what in _logged(log)]
    # In one second several things happen; they stay in the order in which they are listed above.
    rows.sort(key=lambda row: row[0])
    return [(at, (at - created).total_seconds(), who, what) for at, who, what in rows]


def _container(one: dict[str, Any], created: datetime) -> Iterator[tuple[datetime, str]]:
    state = one.get("state") or {}
    if "running" in state:
        yield (
            _time(state["running"]["startedAt"]),
            "started" + (", ready" if one.get("ready") else ", not ready"),
        )
    if "waiting" in state:
        waits = state["waiting"]
        yield created, f"waits: {waits.get('reason') or ''} {waits.get('message') or ''}".rstrip()
    last = (one.get("lastState") or {}).get("terminated")
    if last:
        yield _time(last["finishedAt"]), f"ended with {last.get('exitCode')}, {last.get('reason')}"


def _logged(log: str) -> Iterator[tuple[datetime, str]]:
    for line in log.splitlines():
        try:
            entry = json.loads(line)
            at, event = _time(entry["timestamp"]), str(entry["event"])
        except (ValueError, KeyError, TypeError):
            continue
        if event in _LOGGED or entry.get("level") in ("warning", "error"):
            details = [str(entry[one]) for one in ("name", "reason", "error") if one in entry]
            yield at, ", ".join([f"{event} ({_LOGGED[event]})" if event in _LOGGED else event, *details])


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _logs(options: argparse.Namespace) -> None:
    query = {"tailLines": options.tail, "previous": options.previous}
    if options.since:
        query["sinceSeconds"] = options.since
    with Cluster.of(options) as cluster:
        if options.subject not in PARTS:
            path = f"{COLLECTIONS['Pod'].format(cluster.namespace)}/{options.subject}/log"
            sys.stdout.write(cluster.text("GET", path, query={**query, "container": CONTAINER}))
            return
        if options.namespace not in (None, cluster.system):
            raise UsageError(
                f"{options.subject} is in the namespace {cluster.system}; -n is for the log of a Pod"
            )
        found = list(
            cluster.items(
                COLLECTIONS["Pod"].format(cluster.system),
                labelSelector=f"app.kubernetes.io/name={options.subject}",
            )
        )
        if not found:
            raise NotFoundError(f"no Pod of {options.subject} is in the namespace {cluster.system}")
        for pod in found:
            name = pod["metadata"]["name"]
            if len(found) > 1:
                note(f"== {name}")
            sys.stdout.write(
                cluster.text("GET", f"{COLLECTIONS['Pod'].format(cluster.system)}/{name}/log", query=query)
            )
