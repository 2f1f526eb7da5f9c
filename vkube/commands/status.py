"""`vkube status`: who has an identity, for how long, and who lacks one."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from vkube.admission.advice import advice
from vkube.admission.deployed import Rules, rules, settings_of
from vkube.admission.injected import is_injected
from vkube.admission.judgement import judge
from vkube.admission.templates import Template
from vkube.admission.waiting import waiting_in
from vkube.admission.workloads import owner, pods
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.commands.get import applications, replicas, revocations
from vkube.commands.scope import namespace_of
from vkube.connection.cluster import Cluster
from vkube.connection.cluster_agent import ClusterAgent, administering
from vkube.errors import ClusterError
from vkube.output.documents import Item, document
from vkube.output.fields import fields
from vkube.output.lines import note
from vkube.output.table import table
from vkube.output.times import duration, left
from webhook.layout import ENABLED, INJECT_LABEL
from webhook.settings import Settings

_SHARES = {"first": 0.0, "10%": 0.1, "50%": 0.5, "90%": 0.9}


def status(parser: argparse.ArgumentParser) -> Run:
    """Show the state of an installation: the cluster agent and its roots, the applications with their
    replicas and the time that these have left, the outage budget, and the Pods that should have an
    identity and have none."""
    shared.namespace(parser, every=True)
    shared.output(parser)
    shared.cluster_agent(parser)
    return _status


def _status(options: argparse.Namespace) -> None:
    # Without -n all namespaces are meant: a status of one is the exception.
    namespace = namespace_of(options) if options.namespace else None
    now = datetime.now(UTC)
    with administering(options) as agent:
        state = {**of_agent(agent), **of_replicas(agent, namespace, now)}
    with Cluster.of(options) as cluster:
        state["withoutIdentity"] = uninjected(cluster, namespace)
    text = document(state, options.output)
    sys.stdout.write(shown(state, now) if text is None else text)


def of_agent(agent: ClusterAgent) -> Item:
    """The cluster agent's own state."""
    health = agent.call("GET", "/healthz")
    return {
        "attestor": health["attestor"],
        "root": health["root"],
        "administrator": agent.name,
        "publications": agent.call("GET", "/v1/acknowledgements")["kinds"],
    }


def of_replicas(agent: ClusterAgent, namespace: str | None, now: datetime) -> Item:
    """The applications with live replicas, what is revoked, and the outage budget."""
    live = replicas(agent, namespace)
    groups: dict[str, list[Item]] = {}
    for one in live:
        groups.setdefault(one["name"].rpartition(":")[0], []).append(one)
    refused = [one for one in applications(agent, namespace) if one.get("objection")]
    return {
        "applications": [
            {
                "name": name,
                "namespace": some[0]["namespace"],
                "replicas": len(some),
                "firstEnds": min(one["notAfter"] for one in some),
                "lastEnds": max(one["notAfter"] for one in some),
            }
            for name, some in sorted(groups.items())
        ],
        "replicas": len(live),
        "revocations": len(revocations(agent, namespace)),
        "refusedNames": [one["name"] for one in refused],
        "outageBudgetSeconds": budget([one["notAfter"] for one in live], now),
    }


def budget(ends: Sequence[str], now: datetime) -> dict[str, int]:
    """The seconds without a cluster agent after which that share of the replicas has no certificate."""
    lives = sorted(max(0, int((datetime.fromisoformat(one) - now).total_seconds())) for one in ends)
    if not lives:
        return {}
    return {name: lives[max(1, math.ceil(share * len(lives))) - 1] for name, share in _SHARES.items()}


def uninjected(cluster: Cluster, namespace: str | None) -> list[Item]:
    """The Pods in labelled namespaces that should have an identity and have none, or wait for it."""
    in_force, settings = rules(cluster), settings_of(cluster)
    found = []
    for one in cluster.items("/api/v1/namespaces", labelSelector=f"{INJECT_LABEL}={ENABLED}"):
        name = one["metadata"]["name"]
        if namespace in (None, name):
            there = list(pods(cluster, name))
            found += [why for pod in there if (why := _lacks(pod, one, in_force, settings))]
            found += _waiting(cluster, name, there, in_force)
    return found


def _waiting(cluster: Cluster, namespace: str, there: list[Item], in_force: Rules) -> list[Item]:
    """Those whose kubelet has got no certificate for them, and not because they are new."""
    try:
        waits = waiting_in(cluster, namespace, there, in_force.volumes, in_force.kubelets, datetime.now(UTC))
    except ClusterError as error:  # not everybody may see the kubelets' requests
        note(f"whether Pods of {namespace} wait for their certificate cannot be seen: {error}")
        return []
    return [
        {"namespace": namespace, "pod": name, "why": one.why, "whatToDo": one.todo}
        for name, one in waits.items()
    ]


def _lacks(pod: Item, namespace: Item, in_force: Rules, settings: Settings) -> Item | None:
    template = Template.of(pod, pod["metadata"]["namespace"])
    if template is None or is_injected(pod) or in_force.why_not_called(namespace, pod) is not None:
        return None
    judgement = judge(template.pod, settings, in_force.volumes, namespace)
    if judgement.outcome == "skipped":
        return None  # on purpose
    found = {"namespace": template.namespace, "pod": template.name}
    if not judgement.served:
        return {**found, "why": judgement.message, "whatToDo": advice(judgement.reason)}
    todo = "delete it and create it again" if owner(pod) is None else f"vkube restart {template.namespace}"
    return {**found, "why": "created before the label, or while the webhook was away", "whatToDo": todo}


def shown(state: Item, now: datetime) -> str:
    """The state, for people."""
    published = ", ".join(
        f"{kind} {one['version']} ({one['acknowledged']}/{one['liveReplicas']} replicas have it)"
        for kind, one in sorted(state["publications"].items())
    )
    spent = state["outageBudgetSeconds"]
    outage = ", ".join(f"{name} {duration(timedelta(seconds=seconds))}" for name, seconds in spent.items())
    rows: list[tuple[str, object]] = [
        ("Root", state["root"]),
        ("Attestor", state["attestor"]),
        ("Administering as", state["administrator"]),
        ("Published", published),
        ("Live replicas", state["replicas"]),
        ("Revoked", state["revocations"]),
        ("Without certificate if the cluster agent went away", outage),
    ]
    rows += [("Name that would be refused now", name) for name in state["refusedNames"]]
    parts = [fields(rows)]
    if state["applications"]:
        parts.append(
            table(
                ("APPLICATION", "NAMESPACE", "REPLICAS", "FIRST ENDS", "LAST ENDS"),
                [
                    (
                        one["name"],
                        one["namespace"],
                        one["replicas"],
                        left(one["firstEnds"], now),
                        left(one["lastEnds"], now),
                    )
                    for one in state["applications"]
                ],
            )
            + "\n"
        )
    missing = state["withoutIdentity"]
    if missing:
        header = ("NAMESPACE", "POD WITHOUT IDENTITY", "WHY", "WHAT TO DO")
        lacking = [(one["namespace"], one["pod"], one["why"], one["whatToDo"]) for one in missing]
        parts.append(table(header, lacking) + "\n")
    return "\n".join(parts)
