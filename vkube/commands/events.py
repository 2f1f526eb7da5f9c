"""`vkube events`: what happened to one Pod."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from vkube.admission.deployed import volumes
from vkube.admission.injected import has_volume
from vkube.admission.waiting import Told, Waiting, is_of, is_starting, requests, waiting
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError
from vkube.output.documents import document
from vkube.output.lines import note
from vkube.output.table import table, visible
from vkube.workloads.template import COLLECTIONS, Object
from webhook.layout import BOOTSTRAP_SECRET, CONTAINER

# From its beginning: there the way to the first blessing is.
_LOG_BYTES = 1 << 20
_AGENT, _BLESSED = "pod agent", "blessed"
_KUBELET, _ISSUED = "kubelet", "certificate issued"
_OUTCOMES = {"Issued": _ISSUED, "Denied": "certificate denied", "Failed": "certificate failed"}
# What the pod agent logs on its way, and what it means.
_LOGGED = {"started": "the pod agent runs", _BLESSED: "it has an identity"}


def events(parser: argparse.ArgumentParser) -> Run:
    """Show the way of a Pod to its identity, step by step with the time since its creation: scheduling, the
    pod agent's start and its first blessing, or the kubelet's request for a certificate and its answer,
    readiness; and the Events about it and its namespace's Secret."""
    parser.add_argument("pod", help="a Pod of the namespace")
    shared.namespace(parser)
    shared.output(parser)
    shared.cluster(parser)
    return _events


def _events(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        path = f"{COLLECTIONS['Pod'].format(cluster.namespace)}/{options.pod}"
        pod = cluster.get(path)
        found = list(_of(cluster, "Pod", options.pod)) + list(_of(cluster, "Secret", BOOTSTRAP_SECRET))
        log, asked, waits = "", list[Object](), None
        try:
            if has_volume(pod):
                there = requests(cluster, cluster.namespace, pod["metadata"]["name"])
                asked = [one for one in there if is_of(one, pod)]
                if is_starting(pod):
                    support, kubelets = volumes(cluster)
                    waits = waiting(pod, Told(asked, found), support, dict(kubelets))
            else:
                query = {"container": CONTAINER, "limitBytes": _LOG_BYTES}
                log = cluster.text("GET", f"{path}/log", query=query)
        except ClusterError as error:
            what = "the kubelet's requests" if has_volume(pod) else "the pod agent's log"
            note(f"without {what}: {error}")
    rows = steps(pod, found, log, asked)
    shown = [{"time": at.isoformat(), "afterSeconds": after, "source": who, "what": what}
             for at, after, who, what in rows]  # fmt: skip
    named = identity_after(rows)
    if named is not None:
        note(f"identity after {named:.1f}s")
    elif has_volume(pod) and not asked and not is_starting(pod):
        note("Kubernetes no longer has the kubelet's requests, which it keeps for some minutes")
    else:
        note(visible("it has no identity yet" + (f": {waits.why}. To do: {waits.todo}" if waits else "")))
    text = document({"identityAfterSeconds": named, "waits": _shown(waits), "items": shown}, options.output)
    lines = [
        (at.isoformat(timespec="milliseconds"), f"{after:+.1f}s", who, what) for at, after, who, what in rows
    ]
    sys.stdout.write(table(("TIME", "AFTER", "SOURCE", "WHAT"), lines) + "\n" if text is None else text)


def _of(cluster: Cluster, kind: str, name: str) -> Iterator[Object]:
    selector = f"involvedObject.kind={kind},involvedObject.name={name}"
    yield from cluster.items(f"/api/v1/namespaces/{cluster.namespace}/events", fieldSelector=selector)


def _shown(waits: Waiting | None) -> dict[str, str] | None:
    return None if waits is None else {"why": waits.why, "whatToDo": waits.todo}


def steps(
    pod: Object, found: list[Object], log: str, requests: Sequence[Object] = ()
) -> list[tuple[datetime, float, str, str]]:
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
    rows += [(at, _AGENT, what) for at, what in _logged(log)]
    rows += [(at, _KUBELET, what) for one in requests for at, what in _request(one)]
    # In one second several things happen; they stay in the order in which they are listed above.
    rows.sort(key=lambda row: row[0])
    return [(at, (at - created).total_seconds(), who, what) for at, who, what in rows]


def identity_after(rows: list[tuple[datetime, float, str, str]]) -> float | None:
    """The seconds from the Pod's creation to its first blessing; None when there was none."""
    first = ((_AGENT, _BLESSED), (_KUBELET, _ISSUED))
    return next(
        (after for _, after, who, what in rows for by, word in first if who == by and what.startswith(word)),
        None,
    )


def _request(one: Object) -> Iterator[tuple[datetime, str]]:
    yield _time(one["metadata"]["creationTimestamp"]), "certificate requested"
    status = one.get("status") or {}
    for condition in status.get("conditions") or []:
        what = _OUTCOMES.get(condition["type"], condition["type"])
        if condition["type"] == "Issued":
            what += f", until {status.get('notAfter')}, renewed from {status.get('beginRefreshAt')}"
        else:
            what += f": {condition.get('reason')}, {condition.get('message')}"
        yield _time(condition["lastTransitionTime"]), what


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
