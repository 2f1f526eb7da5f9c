"""`vkube preflight --upgrade`: the new version's injector over all Pod templates, before its rollout."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from vkube.admission.deployed import rules, settings_of
from vkube.admission.replay import HARMFUL, Replay, replay
from vkube.admission.templates import Template
from vkube.admission.workloads import workloads_with_pods
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster import Cluster
from vkube.errors import UsageError
from vkube.output.documents import Column, Listing
from vkube.output.lines import note
from vkube.workloads.sources import documents, mapping
from vkube.workloads.template import Object
from webhook.layout import ENABLED, INJECT_LABEL

_LISTING = Listing(
    "Replay",
    "workloads",
    (
        Column("WORKLOAD", lambda one: one["workload"]),
        Column("RESULT", lambda one: one["result"]),
        Column("REASON", lambda one: one["reason"]),
        Column("CHANGES", lambda one: "; ".join(one["changes"]) or "none"),
        Column("WHAT TO DO", lambda one: one["whatToDo"], wide=True),
        Column("MESSAGE", lambda one: one["message"], wide=True),
    ),
    lambda one: str(one["workload"]),
)


def run(options: argparse.Namespace) -> int:
    """Raises VkubeError."""
    if options.namespace and options.filename:
        raise UsageError("expected a namespace or -f FILE, not both")
    with Cluster.of(options) as cluster:
        in_force = rules(cluster)
        image = cluster.configuration.pod_agent.image
        settings = settings_of(cluster).model_copy(update={"pod_agent_image": image})
        found = [
            replay(template, live, settings, in_force.volumes, namespace)
            for template, live, namespace in _subjects(cluster, options)
            if namespace is None or in_force.why_not_called(namespace, template.pod) is None
        ]
    return _shown(found, options.output)


def _shown(found: list[Replay], output: str) -> int:
    _LISTING.show([one.as_json() for one in found], output)
    if found:
        counts = Counter(one.outcome.value for one in found)
        note(", ".join(f"{number} {word}" for word, number in counts.items()) + "; nothing was changed")
    return ExitCode.FINDINGS if any(one.outcome in HARMFUL for one in found) else ExitCode.DONE


def _subjects(cluster: Cluster, options: argparse.Namespace) -> Iterator[tuple[Template, list[Object], Any]]:
    """Each template with the live Pods of its workload, and its namespace; those of files have neither."""
    if options.filename:
        for where, manifest in documents(options.filename):
            template = Template.of(mapping(manifest, where), cluster.namespace)
            if template is not None:
                yield template, [], None
        return
    for namespace in _namespaces(cluster, options.namespace):
        name = namespace["metadata"]["name"]
        for template, live in workloads_with_pods(cluster, name):
            yield template, live, namespace


def _namespaces(cluster: Cluster, name: str | None) -> Iterator[Object]:
    if name is None:
        yield from cluster.items("/api/v1/namespaces", labelSelector=f"{INJECT_LABEL}={ENABLED}")
    else:
        yield cluster.get(f"/api/v1/namespaces/{name}")
