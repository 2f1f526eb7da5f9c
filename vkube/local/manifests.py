"""Plain manifests, and the Pods that a cluster's controllers would make from them."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vkube.errors import ManifestError

# The letters of Kubernetes' generated names: no vowels, so no words, and nothing that looks alike.
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
# Kinds that a cluster acts on and local mode ignores; the user is told.
_LEFT_OUT = frozenset({"Service", "PersistentVolumeClaim", "PodDisruptionBudget", "NetworkPolicy", "Ingress"})

Manifest = dict[str, Any]


@dataclass
class Manifests:
    """Manifests, sorted by what local mode does with them."""

    namespaces: dict[str, Manifest] = field(default_factory=dict)
    service_accounts: set[tuple[str, str]] = field(default_factory=set)
    data: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    workloads: list[Manifest] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, manifest: Manifest, where: str) -> None:
        """Adds one manifest. Raises ManifestError for a kind that local mode does not know."""
        kind, metadata = manifest.get("kind"), manifest.get("metadata") or {}
        name, namespace = metadata.get("name"), metadata.get("namespace", "default")
        if not isinstance(kind, str) or not isinstance(name, str):
            raise ManifestError(f"{where}: a manifest needs kind and metadata.name")
        if kind == "Namespace":
            self.namespaces[name] = manifest
        elif kind == "ServiceAccount":
            self.service_accounts.add((namespace, name))
        elif kind in ("Secret", "ConfigMap"):
            self.data[kind, namespace, name] = manifest
        elif kind in ("Pod", "Deployment", "StatefulSet", "Job"):
            self.workloads.append(manifest)
        elif kind in _LEFT_OUT:
            self.left_out.append(f"{kind} {namespace}/{name}")
        else:
            raise ManifestError(
                f"{where}: local mode does not run a {kind}; it runs Pod, Deployment, StatefulSet and Job"
            )


def read(paths: Sequence[Path]) -> Manifests:
    """The manifests of YAML files, which may contain several documents each. Raises ManifestError."""
    manifests = Manifests()
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text()))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ManifestError(f"cannot read {path}: {error}") from error
        for position, document in enumerate(documents, 1):
            if document is None:
                continue
            if not isinstance(document, dict):
                raise ManifestError(f"{path}, document {position}: a manifest is a mapping")
            manifests.add(document, f"{path}, document {position}")
    return manifests


def pods_of(workload: Manifest, chance: random.Random) -> list[Manifest]:
    """The Pods that the controllers would make from `workload`, with the names that they would give.

    Raises ManifestError when it has no Pod template, or a wrong number of replicas.
    """
    kind, metadata = workload["kind"], workload["metadata"]
    namespace = metadata.get("namespace", "default")
    if kind == "Pod":
        return [_pod(workload, namespace, metadata["name"], metadata, chance)]
    template = (workload.get("spec") or {}).get("template")
    if not isinstance(template, Mapping) or not isinstance(template.get("spec"), Mapping):
        raise ManifestError(f"{kind} {namespace}/{metadata['name']} has no spec.template.spec")
    return [
        _pod(template, namespace, name, template.get("metadata") or {}, chance)
        for name in _pod_names(workload, template, chance)
    ]


def _pod_names(workload: Manifest, template: Mapping[str, Any], chance: random.Random) -> list[str]:
    kind, name = workload["kind"], workload["metadata"]["name"]
    replicas = workload["spec"].get("replicas", 1) if kind != "Job" else 1
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise ManifestError(f"{kind} {name}: spec.replicas is a whole number from 0, got {replicas!r}")
    if kind == "StatefulSet":
        return [f"{name}-{ordinal}" for ordinal in range(replicas)]
    if kind == "Job":
        return [f"{name}-{_suffix(chance)}"]
    digest = hashlib.sha256(json.dumps(template, sort_keys=True, default=str).encode()).digest()
    revision = "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in digest[:9])
    return [f"{name}-{revision}-{_suffix(chance)}" for _ in range(replicas)]


def _suffix(chance: random.Random) -> str:
    return "".join(chance.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))


def _pod(
    template: Mapping[str, Any],
    namespace: str,
    name: str,
    metadata: Mapping[str, Any],
    chance: random.Random,
) -> Manifest:
    spec = copy.deepcopy(dict(template["spec"]))
    # A cluster's ServiceAccount admission does this before any webhook gets the Pod.
    spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **copy.deepcopy(dict(metadata)),
            "name": name,
            "namespace": namespace,
            "uid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        },
        "spec": spec,
    }
