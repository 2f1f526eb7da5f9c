"""`vkube explain` and `vkube inject`: what the webhook does to a Pod."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from vkube.admission.advice import advice
from vkube.admission.deployed import Rules, default_settings, rules, settings_of
from vkube.admission.explanation import explanation, shown
from vkube.admission.injected import is_injected
from vkube.admission.judgement import judge
from vkube.admission.pod_security import LEVEL_LABEL, LEVELS, violations
from vkube.admission.replay import as_written, delivery_would_change
from vkube.admission.templates import Template, replaced
from vkube.admission.ttls import with_ttls
from vkube.admission.waiting import Waiting, waiting_in
from vkube.admission.workloads import is_there
from vkube.command_line import options as shared
from vkube.command_line.commands import Run
from vkube.command_line.exit_codes import ExitCode
from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError, ManifestError, UsageError
from vkube.output.documents import as_yaml, document
from vkube.output.lines import note, warning
from vkube.workloads.live import pods_of
from vkube.workloads.sources import SUFFIXES, documents, mapping
from vkube.workloads.template import COLLECTIONS, PATHS, template_of, title
from webhook.settings import Settings
from webhook.volume_support import NO_CLUSTER, VolumeSupport

Subjects = list[tuple[Template, dict[str, Any] | None]]


def explain(parser: argparse.ArgumentParser) -> Run:
    """Show what the webhook does to a Pod and why: the rule that matched, the patch as a difference, the Pod
    Security result at each level, and what to do. It asks the webhook's own code with the cluster's settings,
    and changes nothing. Ends with 4 when the Pod gets no identity, or when a Pod of the workload has none, or
    waits for it."""
    parser.add_argument(
        "subject",
        metavar="pod|kind/name|file",
        help="a Pod of the namespace, deployment/web, or a file of manifests; - is standard input",
    )
    shared.namespace(parser)
    _settings_option(parser)
    shared.output(parser)
    shared.cluster_agent(parser)
    return _explain


def inject(parser: argparse.ArgumentParser) -> Run:
    """Print manifests with the pod agent in them, as the webhook would add it, for clusters in which it may
    not be called. Annotations of a namespace count, as it is in the manifests, else in the cluster. Other
    kinds are printed as they are."""
    shared.manifests(parser)
    shared.namespace(parser)
    _settings_option(parser)
    shared.cluster_agent(parser)
    return _inject


def _settings_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--default-settings",
        action="store_true",
        help="those of a new installation and the images of vkube.cfg, for files: no cluster is asked",
    )


def _explain(options: argparse.Namespace) -> int:
    missed: list[str] = []
    waits: dict[str, Waiting] = {}
    there: list[dict[str, Any]] = []
    if options.default_settings:
        from vkube.configuration import load

        if not _is_file(options.subject):
            raise UsageError("--default-settings: expected a file; a Pod needs the cluster")
        settings, namespace = default_settings(load(options.config)), options.namespace or "default"
        found: list[tuple[Template, dict[str, Any] | None, str | None]]
        made: dict[str, Any] = {}
        templates = _templates([options.subject], namespace, made)
        found = [(one, made.get(one.namespace), None) for one in templates]
        support = NO_CLUSTER
    else:
        with Cluster.of(options) as cluster:
            settings, in_force = settings_of(cluster), rules(cluster)
            made = {}
            if _is_file(options.subject):
                templates = _templates([options.subject], cluster.namespace, made)
            else:
                live = _live(cluster, options.subject)
                there = _pods(cluster, live)
                templates, missed = [_template(live)], _missed(there)
                waits = _waiting(cluster, live, there, in_force)
            of_template = [(one, _namespace(cluster, one.namespace, made)) for one in templates]
            found = [(one, place, _not_called(in_force, one, place)) for one, place in of_template]
            anew = [(new, place) for _, place in of_template for one in there if (new := _anew(one))]
            support = with_ttls(options, in_force.volumes, settings, [*of_template, *anew])
    explanations = [
        explanation(
            one,
            judge(one.pod, settings, support, place),
            unasked,
            missed,
            waits,
            [pod for pod in there if _is_other(pod, settings, support, place)],
        )
        for one, place, unasked in found
    ]
    text = document({"items": explanations}, options.output)
    sys.stdout.write("\n".join(map(shown, explanations)) if text is None else text)
    return ExitCode.DONE if all(one["identity"] for one in explanations) else ExitCode.FINDINGS


def _inject(options: argparse.Namespace) -> None:
    if options.default_settings:
        from vkube.configuration import load

        settings = default_settings(load(options.config))
        namespace = options.namespace or "default"
        printed = _all_injected(options, namespace, settings, lambda _: NO_CLUSTER, lambda _: None)
    else:
        with Cluster.of(options) as cluster:

            @lru_cache
            def place(name: str) -> dict[str, Any] | None:
                return cluster.find(f"/api/v1/namespaces/{name}")

            settings, volumes = settings_of(cluster), rules(cluster).volumes
            printed = _all_injected(
                options,
                cluster.namespace,
                settings,
                lambda subjects: with_ttls(options, volumes, settings, subjects),
                place,
            )
    sys.stdout.write("---\n".join(as_yaml(one) for one in printed))


def _all_injected(
    options: argparse.Namespace,
    namespace: str,
    settings: Settings,
    support_of: Callable[[Subjects], VolumeSupport],
    place: Callable[[str], dict[str, Any] | None],
) -> list[Any]:
    """The manifests, injected. `namespace` is for those that name none; `place` finds a namespace that none
    of them makes."""
    found = list(documents(options.filename))
    made: dict[str, Any] = {}
    for where, one in found:
        _note_namespace(mapping(one, where), made)

    def of(name: str) -> dict[str, Any] | None:
        return made[name] if name in made else place(name)

    templates = [one for _, manifest in found if (one := Template.of(manifest, namespace)) is not None]
    support = support_of([(one, of(one.namespace)) for one in templates])
    return [_injected(one, namespace, settings, support, of, where) for where, one in found]


def _injected(
    manifest: Any,
    namespace: str,
    settings: Settings,
    support: VolumeSupport,
    place: Callable[[str], dict[str, Any] | None],
    where: str,
) -> Any:
    template = Template.of(mapping(manifest, where), namespace)
    if template is None:
        if manifest.get("kind") in PATHS:
            template_of(manifest, where)  # states what it lacks
        if _has_template(manifest):
            kind = manifest.get("kind")
            warning(f"{title(manifest)}: left as it is, with its Pod template: vkube knows no kind {kind}")
        return manifest
    judgement = judge(template.pod, settings, support, place(template.namespace))
    if not judgement.allowed:
        raise ManifestError(
            f"{where}, {template.title}: {judgement.message}. To do: {advice(judgement.reason)}"
        )
    for text in judgement.warnings:
        warning(f"{template.title}: {text}")
    if not judgement.patch:
        note(f"{template.title}: left as it is, {judgement.message or judgement.reason.value}")
        return manifest
    return replaced(manifest, judgement.patched)


def _has_template(manifest: dict[str, Any]) -> bool:
    """Whether a manifest of another kind, such as a custom resource, has what a Deployment has."""
    match manifest:
        case {"spec": {"template": {"spec": {"containers": [*_]}}}}:
            return True
        case _:
            return False


def _is_file(subject: str) -> bool:
    return subject == "-" or subject.endswith(SUFFIXES) or Path(subject).exists()


def _templates(names: list[str], namespace: str, made: dict[str, Any] | None = None) -> list[Template]:
    """The Pods of the manifests; those of namespaces are added to `made`, by name. Raises ManifestError."""
    found = []
    for where, manifest in documents(names):
        template = Template.of(mapping(manifest, where), namespace)
        if template is not None:
            found.append(template)
        elif made is not None:
            _note_namespace(manifest, made)
    if not found:
        raise ManifestError(f"{', '.join(names)}: no manifest there makes a Pod")
    return found


def _note_namespace(manifest: dict[str, Any], made: dict[str, Any]) -> None:
    if manifest.get("kind") == "Namespace":
        made[str((manifest.get("metadata") or {}).get("name"))] = manifest


def _live(cluster: Cluster, subject: str) -> dict[str, Any]:
    """The object that the user named, as it is in the cluster."""
    word, separator, name = subject.partition("/")
    wanted = word.lower().removesuffix("s") if separator else "pod"
    kind = next((one for one in COLLECTIONS if one.lower() == wanted), None)
    if kind is None:
        raise UsageError(f"{subject}: there is no kind {word}; expected {', '.join(COLLECTIONS)}")
    found = cluster.get(f"{COLLECTIONS[kind].format(cluster.namespace)}/{name if separator else subject}")
    return {"kind": kind, **found}


def _template(live: dict[str, Any]) -> Template:
    template = Template.of(live, live["metadata"]["namespace"])
    if template is None:
        raise ManifestError(f"{live['kind']} {live['metadata']['name']} has no Pod template")
    return template


def _pods(cluster: Cluster, live: dict[str, Any]) -> list[dict[str, Any]]:
    """The Pod itself; a workload's Pods that have not ended."""
    return [live] if live["kind"] == "Pod" else list(filter(is_there, pods_of(cluster, live)))


def _missed(there: list[dict[str, Any]]) -> list[str]:
    """The names of those that have neither the pod agent nor the volume."""
    return sorted(one["metadata"]["name"] for one in there if not is_injected(one))


def _is_other(
    pod: dict[str, Any], settings: Settings, support: VolumeSupport, namespace: dict[str, Any] | None
) -> bool:
    """Whether it surely has a pod agent where a new Pod would have a volume, or the other way round."""
    template = _anew(pod)
    if template is None:
        return False
    return delivery_would_change(pod, template.pod, settings, support, namespace) is True


def _anew(pod: dict[str, Any]) -> Template | None:
    """What the author of a Pod with an identity wrote, as far as that is known."""
    return Template.of(as_written(pod), pod["metadata"]["namespace"]) if is_injected(pod) else None


def _waiting(
    cluster: Cluster, live: dict[str, Any], there: list[dict[str, Any]], in_force: Rules
) -> dict[str, Waiting]:
    """Those that wait for a certificate from their kubelet."""
    namespace = live["metadata"]["namespace"]
    try:
        return waiting_in(cluster, namespace, there, in_force.volumes, in_force.kubelets)
    except ClusterError as error:
        warning(f"whether its Pods wait for their certificate cannot be seen: {error}")
        return {}


def _namespace(cluster: Cluster, name: str, made: dict[str, Any]) -> dict[str, Any] | None:
    """The namespace, as the manifests make it or as it is."""
    return made[name] if name in made else cluster.find(f"/api/v1/namespaces/{name}")


def _not_called(in_force: Rules, template: Template, namespace: dict[str, Any] | None) -> str | None:
    if namespace is None:
        return f"there is no namespace {template.namespace}: kubectl create namespace {template.namespace}"
    level = (namespace["metadata"].get("labels") or {}).get(LEVEL_LABEL)
    if level in LEVELS and (why := violations(template.pod, level)):
        refuses = f"the namespace enforces Pod Security {level}, which refuses it"
        warning(f"{template.title}: {refuses}: {'; '.join(why)}")
    return in_force.why_not_called(namespace, template.pod)
