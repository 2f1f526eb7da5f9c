"""Plain manifests, sorted by what local mode does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vkube.errors import ManifestError
from vkube.local.schema import check
from vkube.workloads.sources import documents, mapping
from vkube.workloads.template import KINDS

_READ = (*KINDS, "Namespace", "Secret", "ConfigMap", "PersistentVolumeClaim", "Service")

Manifest = dict[str, Any]


@dataclass
class Manifests:
    """Manifests by kind. Local mode does nothing with those in `left_out`; the user is told."""

    namespaces: dict[str, Manifest] = field(default_factory=dict)
    data: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    claims: set[tuple[str, str]] = field(default_factory=set)
    services: list[Manifest] = field(default_factory=list)
    workloads: list[Manifest] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, manifest: Any, where: str) -> None:
        """Adds one manifest, which is no List. Raises ManifestError that names `where` and the field."""
        manifest = mapping(manifest, where)
        check(manifest, where)
        kind: str = manifest["kind"]
        # `metadata: null` is as good as none.
        metadata: dict[str, Any] = manifest.get("metadata") or {}
        manifest["metadata"] = metadata
        metadata["namespace"] = metadata.get("namespace") or "default"
        is_named = metadata.get("name") or (kind in KINDS and metadata.get("generateName"))
        if kind in _READ and not is_named:
            raise ManifestError(f"{where} ({kind}): metadata.name is missing")
        self._sort(kind, metadata["namespace"], metadata.get("name") or "", manifest)

    def _sort(self, kind: str, namespace: str, name: str, manifest: Manifest) -> None:
        if kind == "Namespace":
            self.namespaces[name] = manifest
        elif kind in ("Secret", "ConfigMap"):
            self.data[kind, namespace, name] = manifest
        elif kind == "PersistentVolumeClaim":
            self.claims.add((namespace, name))
        elif kind == "Service" and _has_pods(manifest):
            self.services.append(manifest)
        elif kind in KINDS:
            self.workloads.append(manifest)
        elif kind != "ServiceAccount":  # which needs nothing: local mode has a token for every Pod
            self.left_out.append(f"{kind} {namespace}/{name}" if name else kind)


def _has_pods(service: Manifest) -> bool:
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def read(names: Sequence[str]) -> Manifests:
    """The manifests of files, directories, `-` or URLs. Raises ManifestError."""
    manifests = Manifests()
    for where, document in documents(names):
        manifests.add(document, where)
    return manifests
