"""`vkube preflight` and `vkube restart`: before and after a namespace is labelled."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vkube.admission.advice import advice
from vkube.admission.deployed import Rules, rules, settings_of
from vkube.admission.injected import is_injected
from vkube.admission.judgement import judge
from vkube.admission.limit_ranges import beyond_limit_ranges, defaulted
from vkube.admission.pod_security import LEVEL_LABEL, violations
from vkube.admission.quotas import Change, beyond_quotas, counts_secrets
from vkube.admission.replay import as_written, delivery_would_change, image_changes
from vkube.admission.templates import Template
from vkube.admission.ttls import with_ttls
from vkube.admission.workloads import owner, pods, workloads
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster import STRATEGIC_MERGE_PATCH, Cluster
from vkube.errors import ClusterError, ForbiddenError, NotFoundError, UsageError
from vkube.output.documents import Column, Listing
from vkube.output.lines import note, result, warning
from vkube.output.table import visible
from vkube.workloads.template import COLLECTIONS
from webhook.layout import BOOTSTRAP_SECRET, ENABLED, INJECT_LABEL
from webhook.settings import Settings

# As kubectl rollout restart does it.
_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_ROLLING = ("Deployment", "StatefulSet", "DaemonSet")
_MOST_NAMED = 3
_LISTING = Listing(
    "Workload",
    "workloads",
    (
        Column("WORKLOAD", lambda one: one["workload"]),
        Column("RESULT", lambda one: one["result"]),
        Column("REASON", lambda one: one["reason"]),
        Column("WHAT TO DO", lambda one: one["whatToDo"]),
        Column("MESSAGE", lambda one: one["message"], wide=True),
    ),
    lambda one: str(one["workload"]),
)


def preflight(parser: argparse.ArgumentParser) -> Run:
    """Show what the label vanadium.io/inject=enabled would do to every workload of a namespace: injected,
    skipped or refused, why, and what to do. With --upgrade: what the webhook of vkube's own version, with the
    image of vkube.cfg, would do to the Pods of workloads in labelled namespaces, compared with what they
    have. Nothing is changed or restarted. Ends with 4 when a workload would be refused, or would lose its
    identity."""
    parser.add_argument(
        "namespace", nargs="?", help="the namespace; with --upgrade all labelled ones by default"
    )
    parser.add_argument("--upgrade", action="store_true", help="replay the upgrade to vkube's own version")
    shared.manifests(parser, required=False)
    shared.output(parser)
    shared.cluster_agent(parser)
    return _preflight


def restart(parser: argparse.ArgumentParser) -> Run:
    """Roll the workloads of a namespace whose Pods lack an identity that they would get now; with --outdated
    also those whose pod agent has another image than a new Pod's would have, and those that would have a
    volume instead of it, or it instead of a volume. Deployments, StatefulSets and
    DaemonSets roll as they are configured to; other Pods with a controller are evicted, which a
    PodDisruptionBudget can refuse and a Job counts as a failure. Pods without a controller are named and left
    alone. Ends with 4 when a Pod was left."""
    parser.add_argument("namespace", help="the namespace")
    parser.add_argument(
        "--outdated",
        action="store_true",
        help="also where the pod agent is another version, or the delivery another",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be restarted")
    shared.cluster_agent(parser)
    return _restart


def _preflight(options: argparse.Namespace) -> int:
    if options.upgrade:
        from vkube.commands.upgrade_replay import run

        return run(options)
    if options.namespace is None or options.filename:
        raise UsageError("expected a namespace, or --upgrade with a namespace, with -f FILE, or with neither")
    with Cluster.of(options) as cluster:
        namespace, in_force = _namespace(cluster, options.namespace), rules(cluster)
        settings, limits = settings_of(cluster), _items(cluster, options.namespace, "limitranges")
        found = list(workloads(cluster, options.namespace))
        volumes = with_ttls(options, in_force.volumes, settings, [(one, namespace) for one in found])
        in_force = replace(in_force, volumes=volumes)
        rows = [foreseen(one, settings, namespace, in_force, limits) for one in found]
        quotas = _items(cluster, options.namespace, "resourcequotas")
        changes = list(_changes(cluster, settings, namespace, in_force, limits)) if quotas else []
        has_secret = not counts_secrets(quotas) or _has_secret(cluster, options.namespace)
        lacking_room = beyond_quotas(changes, quotas, has_secret=has_secret)
    _LISTING.show(rows, options.output)
    refused = [one for one in rows if one["result"] == "refused"]
    if not rows:
        return ExitCode.DONE
    counts = {word: sum(one["result"] == word for one in rows) for word in ("injected", "skipped", "refused")}
    note(", ".join(f"{number} {word}" for word, number in counts.items()) + "; nothing was changed")
    if options.output in ("table", "wide"):
        for line in warnings(rows):
            warning(line)
    for one in lacking_room:
        warning(one)
    if not refused and not lacking_room:
        name = options.namespace
        note(f"to go on: kubectl label namespace {name} {INJECT_LABEL}={ENABLED} && vkube restart {name}")
    return ExitCode.FINDINGS if refused or lacking_room else ExitCode.DONE


def warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the webhook would warn of, or refuse with, each once, with the workloads that it is about; of
    those that are left out, the table has the reason."""
    of: dict[str, list[str]] = {}
    for row in rows:
        for text in _said(row):
            of.setdefault(text, []).append(row["workload"])
    return [f"{visible(_several(names))}: {visible(text)}" for text, names in of.items()]


def _said(row: Mapping[str, Any]) -> Sequence[str]:
    if row["result"] == "injected":
        return list(row["warnings"])
    # Of LimitRanges and Pod Security, which are not the webhook's, the advice has the reason.
    is_webhooks = row["result"] == "refused" and row["reason"] not in ("LimitRange", "PodSecurity")
    return [row["message"]] if is_webhooks and row["message"] else []


def _several(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _items(cluster: Cluster, namespace: str, kind: str) -> list[Any]:
    try:
        return list(cluster.items(f"/api/v1/namespaces/{namespace}/{kind}"))
    except ClusterError as error:
        warning(f"the {kind} of {namespace} are not considered: {error}")
        return []


def _changes(
    cluster: Cluster, settings: Settings, namespace: Any, in_force: Rules, limits: Sequence[Any]
) -> Iterator[Change]:
    """The Pods that run without an identity, and what becomes of each."""
    name = namespace["metadata"]["name"]
    for pod in pods(cluster, name):
        template = Template.of(pod, name)
        if template is None or is_injected(pod):
            continue
        if in_force.why_not_called(_labelled(namespace), template.pod) is None:
            judgement = judge(template.pod, settings, in_force.volumes, namespace)
            yield Change(template.pod, defaulted(judgement.patched, limits), judgement.by_volume)


def _has_secret(cluster: Cluster, namespace: str) -> bool:
    """Whether the namespace has our Secret; who may not see that is told as if it had none."""
    try:
        return cluster.find(f"/api/v1/namespaces/{namespace}/secrets/{BOOTSTRAP_SECRET}") is not None
    except ForbiddenError:
        return False


def foreseen(
    template: Template, settings: Settings, namespace: Any, in_force: Rules, limits: Sequence[Any] = ()
) -> dict[str, Any]:
    """What happens to a workload's Pods once its namespace, which has such LimitRanges, is labelled."""
    judgement = judge(defaulted(template.pod, limits), settings, in_force.volumes, namespace)
    row = {
        "workload": f"{template.kind.lower()}/{template.name}",
        "result": judgement.outcome,
        "reason": judgement.reason.value,
        "message": judgement.message,
        "warnings": list(judgement.warnings),
        "whatToDo": advice(judgement.reason),
    }
    unasked = in_force.why_not_called(_labelled(namespace), template.pod)
    if unasked is not None:
        return {**row, "result": "skipped", "reason": "NotCalled", "whatToDo": unasked}
    level = (namespace["metadata"].get("labels") or {}).get(LEVEL_LABEL, "privileged")
    why = violations(judgement.patched, level)
    if judgement.allowed and why:
        todo = f"the namespace enforces Pod Security {level}: {'; '.join(why)}"
        return {**row, "result": "refused", "reason": "PodSecurity", "whatToDo": todo}
    beyond = beyond_limit_ranges(defaulted(judgement.patched, limits), limits)
    if judgement.allowed and beyond:
        todo = (
            f"change the LimitRange, or these resources (the pod agent's by annotation): {'; '.join(beyond)}"
        )
        return {**row, "result": "refused", "reason": "LimitRange", "whatToDo": todo}
    return row


def _labelled(namespace: Any) -> dict[str, Any]:
    metadata = namespace["metadata"]
    return {"metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), INJECT_LABEL: ENABLED}}}


def _namespace(cluster: Cluster, name: str) -> dict[str, Any]:
    try:
        return cluster.get(f"/api/v1/namespaces/{name}")
    except NotFoundError as error:
        raise NotFoundError(f"there is no namespace {name} in context {cluster.context}") from error


def _restart(options: argparse.Namespace) -> int:
    done: set[tuple[str, str]] = set()
    left = 0
    with Cluster.of(options) as cluster:
        found, undecided = lacking(cluster, options)
        if undecided:
            warning(
                f"{visible(_several(undecided))}: left alone, because what delivery a new Pod would have "
                "depends on the cluster's nodes, or on TTLs, which you may not see or cannot be read now"
            )
        for pod in found:
            kind, name = _restartable(cluster, options.namespace, pod)
            if (kind, name) in done:
                continue
            done.add((kind, name))
            if kind == "":
                warning(f"pod/{name} has no controller that makes it again: delete and create it yourself")
                left += 1
            elif options.dry_run:
                result(f"{kind.lower()}/{name} would be {'restarted' if kind in _ROLLING else 'evicted'}")
            else:
                left += not _restarted(cluster, options.namespace, kind, name)
    if not done and not undecided:
        more = ", of the current version and delivery" if options.outdated else ""
        note(f"every Pod of {options.namespace} that can have an identity has one{more}")
    return ExitCode.FINDINGS if left else ExitCode.DONE


def lacking(cluster: Cluster, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """The Pods without an identity that would get one, if they were created now; with --outdated also those
    with an outdated pod agent, or with the other delivery; and the names of those that may be such."""
    name, every = options.namespace, options.outdated
    described, in_force, settings = _namespace(cluster, name), rules(cluster), settings_of(cluster)
    wanted = [one for one in pods(cluster, name) if every or not is_injected(one)]
    written = ((one, Template.of(as_written(one) if is_injected(one) else one, name)) for one in wanted)
    found = [(pod, template) for pod, template in written if template is not None]
    for pod, _ in found:
        if (unasked := in_force.why_not_called(described, pod)) is not None:
            raise ClusterError(unasked)
    volumes = with_ttls(options, in_force.volumes, settings, [(one, described) for _, one in found])
    chosen, undecided = [], []
    for pod, template in found:
        judgement = judge(template.pod, settings, volumes, described)
        changes = delivery_would_change(pod, template.pod, settings, volumes, described)
        is_due = not is_injected(pod) or changes or image_changes(judgement, pod)
        if judgement.served and is_due:
            chosen.append(pod)
        elif changes is None:
            undecided.append(str(pod["metadata"]["name"]))
    return chosen, undecided


def _restartable(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> tuple[str, str]:
    """The kind and name of what is to be restarted; no kind for a Pod without a controller."""
    found = owner(pod)
    name = str(pod["metadata"]["name"])
    if found is None:
        return "", name
    if found[0] == "ReplicaSet":
        path = f"{COLLECTIONS['ReplicaSet'].format(namespace)}/{found[1]}"
        found = owner(cluster.get(path)) or found
    return found if found[0] in _ROLLING else ("Pod", name)


def _restarted(cluster: Cluster, namespace: str, kind: str, name: str) -> bool:
    path = f"{COLLECTIONS[kind].format(namespace)}/{name}"
    if kind in _ROLLING:
        annotations = {_RESTARTED: datetime.now(UTC).isoformat(timespec="seconds")}
        body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
        cluster.patch(path, body, kind=STRATEGIC_MERGE_PATCH)
        result(f"{kind.lower()}/{name} restarted")
        return True
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    try:
        cluster.create(f"{path}/eviction", eviction)
    except ClusterError as error:
        warning(f"pod/{name} is not evicted: {error}")
        return False
    result(f"pod/{name} evicted")
    return True
