"""The Pods that a cluster's controllers would make from workloads, with the names that they would give."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from vkube.local.manifests import Manifest

# The letters of Kubernetes' generated names: no vowels, so no words, and nothing that looks alike.
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
INDEX = "batch.kubernetes.io/job-completion-index"


def named(workload: Manifest, chance: random.Random) -> Manifest:
    """The workload with a name: its own, or one from `generateName`."""
    metadata = workload["metadata"]
    if metadata.get("name"):
        return workload
    return {**workload, "metadata": {**metadata, "name": metadata["generateName"] + suffix(chance)}}


def pods_of(workload: Manifest, chance: random.Random) -> list[Manifest]:
    """The Pods of a Pod, Deployment, ReplicaSet, StatefulSet or DaemonSet, which has a name."""
    kind, metadata = workload["kind"], workload["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    if kind == "Pod":
        return [pod(workload, namespace, name, chance)]
    spec = workload["spec"]
    template = spec["template"]
    replicas = spec.get("replicas")
    count = 1 if kind == "DaemonSet" or replicas is None else replicas  # this machine is the only node
    if kind == "StatefulSet":
        first = (spec.get("ordinals") or {}).get("start") or 0
        ordinals = [f"{name}-{ordinal}" for ordinal in range(first, first + count)]
        return [_with_claims(pod(template, namespace, one, chance), spec) for one in ordinals]
    if kind == "Deployment":
        digest = hashlib.sha256(json.dumps(template, sort_keys=True, default=str).encode()).digest()
        revision = "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:9])
        name = f"{name}-{revision}"
    return [pod(template, namespace, f"{name}-{suffix(chance)}", chance) for _ in range(count)]


def claims_of(workload: Manifest, pods: Sequence[Manifest]) -> set[tuple[str, str]]:
    """The claims that a StatefulSet's controller makes for its Pods."""
    names = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates") or []]
    return {
        (pod["metadata"]["namespace"], f"{name}-{pod['metadata']['name']}") for name in names for pod in pods
    }


def job_of(cron_job: Manifest, chance: random.Random) -> Manifest:
    """The Job that `kubectl create job --from=cronjob/…` would make."""
    template, metadata = cron_job["spec"]["jobTemplate"], cron_job["metadata"]
    return {
        "kind": "Job",
        "metadata": {"name": f"{metadata['name']}-{suffix(chance)}", "namespace": metadata["namespace"]},
        "spec": template["spec"],
    }


def job_pod(job: Manifest, index: int | None, chance: random.Random) -> Manifest:
    """One Pod of a Job. `index` is its completion index where the Job is Indexed, None where it is not."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    stem = name if index is None else f"{name}-{index}"
    made = pod(job["spec"]["template"], namespace, f"{stem}-{suffix(chance)}", chance)
    if index is not None:
        for kind in ("annotations", "labels"):
            made["metadata"][kind] = {**(made["metadata"].get(kind) or {}), INDEX: str(index)}
        for container in [*(made["spec"].get("initContainers") or []), *made["spec"]["containers"]]:
            container["env"] = [
                *(container.get("env") or []),
                {"name": "JOB_COMPLETION_INDEX", "value": str(index)},
            ]
    return made


def suffix(chance: random.Random) -> str:
    """Five random characters, as Kubernetes adds to a `generateName`."""
    return "".join(chance.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))


def pod(template: Mapping[str, Any], namespace: str, name: str, chance: random.Random) -> Manifest:
    """The Pod of a template, as an API server stores it before any webhook gets it."""
    spec = copy.deepcopy(dict(template["spec"]))
    # A cluster's ServiceAccount admission does this.
    spec["serviceAccountName"] = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **copy.deepcopy(dict(template.get("metadata") or {})),
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        },
        "spec": spec,
    }


def _with_claims(made: Manifest, spec: Mapping[str, Any]) -> Manifest:
    """The Pod with a volume for each of the StatefulSet's claims, which replaces a volume of that name."""
    names = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates") or []]
    if names:
        others = [one for one in made["spec"].get("volumes") or [] if one["name"] not in names]
        claims = [
            {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{made['metadata']['name']}"}}
            for name in names
        ]
        made["spec"]["volumes"] = [*others, *claims]
    return made
