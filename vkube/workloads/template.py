"""The Pod template of a workload, and what vkube writes into it: one label.

The webhook does the injecting. The label asks for it; a later `kubectl apply` of the same manifest leaves it,
because it removes only what an earlier version of the manifest had.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from vkube.errors import ManifestError
from webhook.layout import INJECT_LABEL

Object = dict[str, Any]
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
"""The fields that lead to the template; a Pod is its own."""
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
"""Paths of the API server, to be completed by the namespace."""
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod")
"""What `vkube start` and local mode run."""
REPLACED_IN_PLACE = ("Deployment", "StatefulSet", "DaemonSet")
"""Kinds whose controllers roll a new template out."""


def template_of(workload: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The Pod template: `metadata` and `spec` of its Pods; for a Pod the Pod. Raises ManifestError."""
    node: Any = workload
    for step in PATHS[str(workload.get("kind"))]:
        node = (node.get(step) if isinstance(node, dict) else None) or {}
    if not isinstance(node, dict) or not isinstance(node.get("spec"), dict):
        field = ".".join([*PATHS[str(workload.get("kind"))], "spec"])
        raise ManifestError(f"{where or title(workload)}: {field} is missing, or is no mapping")
    return node


def labelled(workload: Mapping[str, Any], value: str) -> dict[str, Any]:
    """A copy whose Pods have the label `vanadium.io/inject` with that value."""
    changed = copy.deepcopy(dict(workload))
    template = template_of(changed)
    metadata = template["metadata"] = template.get("metadata") or {}
    metadata["labels"] = {**(metadata.get("labels") or {}), INJECT_LABEL: value}
    return changed


def label_of(workload: Mapping[str, Any]) -> str | None:
    """The value of the label `vanadium.io/inject` on its Pods; None when they have none."""
    value = labels_of(template_of(workload)).get(INJECT_LABEL)
    return None if value is None else str(value)


def labels_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An object's labels."""
    return dict((manifest.get("metadata") or {}).get("labels") or {})


def service_account_of(workload: Mapping[str, Any]) -> str:
    """The service account of its Pods."""
    spec = template_of(workload)["spec"]
    return str(spec.get("serviceAccountName") or spec.get("serviceAccount") or "default")


def title(manifest: Mapping[str, Any]) -> str:
    """`Deployment shop/web`, for messages."""
    metadata = manifest.get("metadata") or {}
    namespace, name = metadata.get("namespace"), metadata.get("name") or metadata.get("generateName")
    return f"{manifest.get('kind')} {namespace}/{name}" if namespace else f"{manifest.get('kind')} {name}"
