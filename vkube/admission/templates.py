"""The Pods that a manifest makes: a Pod itself, or the template of a workload."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
# Where the template is; the path of the Pod itself is empty.
PATHS: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "ReplicationController": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
COLLECTIONS: dict[str, str] = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "ReplicationController": "/api/v1/namespaces/{}/replicationcontrollers",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "CronJob": "/apis/batch/v1/namespaces/{}/cronjobs",
}
"""Paths of the API server, by kind."""


@dataclass(frozen=True)
class Template:
    """A Pod that a workload makes. `pod` is what an API server sends to the webhook, as far as it is known
    before."""

    kind: str
    namespace: str
    name: str
    pod: Object

    @property
    def title(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def template_of(manifest: Object, namespace: str) -> Template | None:
    """The Pod of a manifest; None for another kind, or where the template is missing. `namespace` is for one
    that names none."""
    kind = manifest.get("kind")
    if not isinstance(kind, str) or kind not in PATHS:
        return None
    metadata = _object(manifest.get("metadata"))
    found: Any = manifest
    for key in PATHS[kind]:
        found = _object(found.get(key))
    if not isinstance(found.get("spec"), dict):
        return None
    place = str(metadata.get("namespace") or namespace)
    name = str(metadata.get("name") or f"{metadata.get('generateName', '')}…")
    own = _object(found.get("metadata"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**own, "name": own.get("name") or name, "namespace": place},
        "spec": copy.deepcopy(found["spec"]),
    }
    # The ServiceAccount admission does this before any webhook gets the Pod.
    spec = pod["spec"]
    spec.setdefault("serviceAccountName", spec.get("serviceAccount") or "default")
    return Template(kind, place, name, pod)


def each(manifest: Any) -> Iterator[Object]:
    """The manifest, or those of a List."""
    if isinstance(manifest, dict) and str(manifest.get("kind", "")).endswith("List"):
        for one in manifest.get("items") or []:
            yield from each(one)
    elif isinstance(manifest, dict):
        yield manifest


def replaced(manifest: Object, pod: Object) -> Object:
    """A copy of the manifest with the labels, annotations and spec of `pod` in its template."""
    changed = copy.deepcopy(manifest)
    found: Any = changed
    for key in PATHS[str(manifest["kind"])]:
        found = found[key]
    found["spec"] = pod["spec"]
    return changed


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
