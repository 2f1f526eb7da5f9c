"""`vkube start`, `update` and `stop`: workloads with an identity, from plain manifests."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from blessings import InvalidName, Name
from vkube import naming
from vkube.admission.deployed import rules
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.get import applications, replicas
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.errors import ClusterError, ConflictError, NotFoundError, UsageError
from vkube.output.lines import note, result
from vkube.workloads.credential import ask_for_credentials, await_credential, has_credential
from vkube.workloads.live import Object, Target, apply, pods_of, targets
from vkube.workloads.rollout import roll_back, wait, wait_gone
from vkube.workloads.template import label_of, labelled, labels_of, service_account_of, template_of
from webhook.layout import DISABLED, ENABLED

_GRANT = timedelta(days=365)


def start(parser: argparse.ArgumentParser) -> Run:
    """Create the manifests' objects. Their Pods get an identity: the label vanadium.io/inject is put on the
    Pod template, and the webhook does the rest. With an EXTENSION the application is first named after it.
    A workload that is there already is an error."""
    _manifests(parser)
    parser.add_argument(
        "extension",
        nargs="?",
        help="names the application: PREFIX:EXTENSION, its replicas PREFIX:EXTENSION:POD; with an upper-case "
        "letter, so that it is no namespace's name; by default it is named after its namespace and service "
        "account",
    )
    _names(parser)
    parser.add_argument("--noblessings", action="store_true", help="no identity for these Pods")
    shared.waiting(parser, "until every workload is rolled out, or has completed")
    return _start


def update(parser: argparse.ArgumentParser) -> Run:
    """Change the manifests' workloads, which must be there, by a rolling update. With --wait, one that makes
    no progress gets its previous Pod template back. An EXTENSION names the application anew."""
    _manifests(parser)
    parser.add_argument("extension", nargs="?", help="names the application anew: PREFIX:EXTENSION")
    _names(parser)
    shared.waiting(parser, "until it is rolled out; else roll back, and fail")
    return _update


def stop(parser: argparse.ArgumentParser) -> Run:
    """Delete the manifests' workloads, which must be there, and the applications' registered names. The
    identities of their Pods are revoked when the Pods are gone. Other objects of the manifests stay."""
    _manifests(parser)
    parser.add_argument(
        "--noblessings", action="store_true", help="they have no identity: ask no cluster agent"
    )
    shared.waiting(parser, "until their Pods are gone")
    return _stop


def _manifests(parser: argparse.ArgumentParser) -> None:
    shared.manifests(parser)
    shared.namespace(parser)
    shared.cluster_agent(parser)


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-blessings",
        metavar="NAME",
        help="the PREFIX of EXTENSION, a name that your root may grant; by default the cluster agent's",
    )
    parser.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another program manages"
    )


def _start(options: argparse.Namespace) -> None:
    with _agent(options) as agent, Cluster.of(options) as cluster:
        found = targets(cluster, options.filename, options.namespace)
        workloads = [one for one in found if one.is_workload]
        for one in workloads:
            template_of(one.manifest, one.where)
            if cluster.find(one.path) is not None:
                raise ConflictError(
                    f"{one.title} is already running: vkube update changes it, vkube stop ends it"
                )
            if not options.noblessings:
                _check_called(cluster, one, found)
        _register(agent, cluster, options, workloads)
        _apply_others(cluster, found, force=options.force_conflicts)
        value = DISABLED if options.noblessings else ENABLED
        for one in workloads:
            apply(cluster, one, labelled(one.manifest, value), force=options.force_conflicts)
            result(f"{one.title}: created")
        if options.wait:
            wait(cluster, workloads, options.wait_timeout)


def _update(options: argparse.Namespace) -> None:
    with _agent(options) as agent, Cluster.of(options) as cluster:
        found = targets(cluster, options.filename, options.namespace)
        running = _running(cluster, found)
        _register(agent, cluster, options, [one for one, _ in running])
        _apply_others(cluster, found, force=options.force_conflicts)
        for one, before in running:
            value = ENABLED if options.extension else label_of(before)
            manifest = one.manifest if value is None else labelled(one.manifest, value)
            after = apply(cluster, one, manifest, force=options.force_conflicts)
            is_changed = after["metadata"].get("generation") != before["metadata"].get("generation")
            result(f"{one.title}: {'updated' if is_changed else 'unchanged'}")
        if options.wait:
            _wait_or_roll_back(cluster, running, options.wait_timeout)


def _stop(options: argparse.Namespace) -> None:
    with Cluster.of(options) as cluster:
        found = targets(cluster, options.filename, options.namespace)
        running = _running(cluster, found)
        pods = [pod for _, live in running for pod in pods_of(cluster, live)]
        names: list[str] = []
        if not options.noblessings:
            with administering(options) as agent:
                names = _identities(agent, pods)
                _unregister(agent, cluster, [one for one, _ in running], pods)
        for one, live in reversed(running):
            cluster.delete(
                one.path,
                {"propagationPolicy": "Background", "preconditions": {"uid": live["metadata"]["uid"]}},
            )
            result(f"{one.title}: deleted")
        for one in found:
            if not one.is_workload:
                note(f"{one.title} stays: kubectl delete removes it")
        left = wait_gone(cluster, pods, options.wait_timeout) if options.wait else []
        for name in names:
            result(f"{name}: revoked as soon as its Pod is gone")
        if left:
            raise ClusterError(f"after {options.wait_timeout} s there is still {', '.join(left)}")


@contextmanager
def _agent(options: argparse.Namespace) -> Iterator[ClusterAgent | None]:
    """The cluster agent, connected only where a name is to be registered."""
    if options.extension and getattr(options, "noblessings", False):
        raise UsageError("EXTENSION names an application; with --noblessings there is none")
    if options.base_blessings and not options.extension:
        raise UsageError("--base-blessings: expected an EXTENSION with it")
    if not options.extension:
        yield None
        return
    with administering(options) as agent:
        yield agent


def _running(cluster: Cluster, found: Sequence[Target]) -> list[tuple[Target, Object]]:
    """The workloads, each with what is in the cluster. Raises NotFoundError unless all are there."""
    running = []
    for one in found:
        if one.is_workload:
            template_of(one.manifest, one.where)
            live = cluster.find(one.path)
            if live is None:
                raise NotFoundError(f"{one.title} is not running: vkube start creates it")
            running.append((one, {**live, "kind": one.manifest["kind"]}))
    return running


def _apply_others(cluster: Cluster, found: Sequence[Target], *, force: bool) -> None:
    """Applies what is no workload: namespaces, service accounts, services."""
    for one in found:
        if not one.is_workload:
            apply(cluster, one, one.manifest, force=force)
            result(f"{one.title}: applied")


def _check_called(cluster: Cluster, workload: Target, found: Sequence[Target]) -> None:
    """Raises ClusterError when no webhook would see the workload's Pods."""
    name = workload.namespace
    ours = [
        one.manifest
        for one in found
        if one.manifest["kind"] == "Namespace" and one.manifest["metadata"]["name"] == name
    ]
    labels: dict[str, Any] = {}
    for manifest in [cluster.find(f"/api/v1/namespaces/{name}") or {}, *ours]:
        labels |= labels_of(manifest)
    pod = template_of(labelled(workload.manifest, ENABLED))
    reason = rules(cluster).why_not_called({"metadata": {"name": name, "labels": labels}}, pod)
    if reason is not None:
        raise ClusterError(
            f"{workload.title} would have no identity: {reason}. --noblessings starts it without one"
        )


def _register(
    agent: ClusterAgent | None, cluster: Cluster, options: argparse.Namespace, workloads: Sequence[Target]
) -> None:
    """Names the workloads' applications, if an EXTENSION is given."""
    if agent is None:
        return
    base = options.base_blessings or str(agent.call("GET", "/v1/claim")["prefix"])
    try:
        name = Name.parse(f"{base}:{options.extension}")
    except InvalidName as error:
        raise UsageError(f"EXTENSION {options.extension!r}: {error}") from error
    for namespace, account in sorted(
        {(one.namespace, service_account_of(one.manifest)) for one in workloads}
    ):
        if account == "default":
            note(
                f"the Pods have no service account of their own: all Pods of {namespace}/default are now "
                f"named {name}:POD"
            )
        had_one = has_credential(agent, namespace, account)
        wanted = naming.Wanted(namespace, account, name, None, _GRANT)
        grant = naming.register(agent, wanted, lambda: agent.root_of(name), datetime.now(UTC))
        result(f"{namespace}/{account}: named {name}, by a grant of {grant}")
        if had_one and not has_credential(agent, namespace, account):
            await_credential(cluster, agent, namespace, account)


def _wait_or_roll_back(cluster: Cluster, running: Sequence[tuple[Target, Object]], seconds: int) -> None:
    try:
        wait(cluster, [one for one, _ in running], seconds)
    except ClusterError as error:
        back = [one.title for one, before in running if roll_back(cluster, one, before)]
        if not back:
            raise
        raise ClusterError(f"{error}. Rolled back to the previous Pod template: {', '.join(back)}") from error


def _identities(agent: ClusterAgent, pods: Sequence[Object]) -> list[str]:
    uids = {pod["metadata"]["uid"] for pod in pods}
    namespaces = {pod["metadata"]["namespace"] for pod in pods}
    return sorted(
        str(one["name"])
        for namespace in namespaces
        for one in replicas(agent, namespace)
        if one["podUid"] in uids
    )


def _unregister(
    agent: ClusterAgent, cluster: Cluster, workloads: Sequence[Target], pods: Sequence[Object]
) -> None:
    """Forgets the applications' registered names, except where other Pods have them."""
    ending = {pod["metadata"]["uid"] for pod in pods}
    for namespace in sorted({one.namespace for one in workloads}):
        names = {one["serviceAccount"]: one["name"] for one in applications(agent, namespace)}
        accounts = {service_account_of(one.manifest) for one in workloads if one.namespace == namespace}
        others = {
            pod["spec"].get("serviceAccountName")
            for pod in cluster.items(f"/api/v1/namespaces/{namespace}/pods")
            if pod["metadata"]["uid"] not in ending
        }
        for account in sorted(accounts & names.keys()):
            if account in others:
                note(f"{names[account]} stays: other Pods of {namespace}/{account} have that name")
                continue
            body = {"namespace": namespace, "serviceAccount": account}
            agent.call("POST", "/v1/unregister-application", body)
            result(f"{namespace}/{account}: no longer named {names[account]}")
            ask_for_credentials(cluster, namespace)
