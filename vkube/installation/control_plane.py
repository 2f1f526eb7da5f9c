"""The control plane in a cluster: what is there of it, and how it is applied and deleted."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vkube.admission.deployed import rules
from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError, ConflictError
from vkube.installation.manifests import CLAIM_CODE, CLAIM_SECRET, CLUSTER_AGENT, PART_OF, WEBHOOK, Object
from vkube.output.lines import note, result
from vkube.workloads.live import MANAGER, Resources, Target, apply, pods_of
from vkube.workloads.progress import Progress, progress_of
from vkube.workloads.template import labels_of

BOOTSTRAP_SECRET, BOOTSTRAP_TYPE = "vanadium-bootstrap", "vanadium.io/bootstrap"
KEPT = ("Namespace", "PersistentVolumeClaim")
"""Kinds that hold, or contain, what the cluster agent knows."""
# What limits the rights of the others is deleted after them.
_DELETED = {
    "MutatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
    "Deployment": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "Service": "v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ServiceAccount": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "ValidatingAdmissionPolicyBinding": "admissionregistration.k8s.io/v1",
    "ValidatingAdmissionPolicy": "admissionregistration.k8s.io/v1",
}
"""Kinds of what is deleted, in that order, and the version of their API."""
# Kinds that come into every namespace by themselves, or by the objects that are listed besides.
_OF_THEMSELVES = ("Event", "Lease", "Endpoints", "EndpointSlice", "PodMetrics")
_MADE_BY_KUBERNETES = (("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default"))


def running_in(cluster: Cluster) -> str | None:
    """The namespace in which the control plane, or a part of it, runs; None when there is none."""
    entry = rules(cluster).entry
    if entry is not None:
        return str(((entry.get("clientConfig") or {}).get("service") or {}).get("namespace") or "another")
    for name in (WEBHOOK, CLUSTER_AGENT):
        if cluster.find(f"/apis/apps/v1/namespaces/{cluster.system}/deployments/{name}") is not None:
            return cluster.system
    return None


def targets_of(cluster: Cluster, objects: Iterable[Object]) -> list[Target]:
    """The objects, with where the API server has them."""
    resources = Resources(cluster)
    return [resources.target(one, "deploy") for one in objects]


def check_ours(cluster: Cluster, targets: Iterable[Target]) -> None:
    """Raises ConflictError where an object of that name is there and is not the control plane's."""
    foreign = [
        one.title
        for one in targets
        if one.manifest["kind"] not in KEPT
        and (live := cluster.find(one.path)) is not None
        and not is_ours(live)
    ]
    if foreign:
        raise ConflictError(
            f"there is already {', '.join(foreign)}, without the label {'='.join(PART_OF)}: of somebody "
            "else's making, so nothing is changed. Delete it, or label it if it is an earlier installation's"
        )


def apply_all(cluster: Cluster, targets: Iterable[Target], *, force: bool) -> None:
    """Applies the objects in their order. A namespace that was there before is not made ours."""
    for one in targets:
        live = cluster.find(one.path)
        manifest = one.manifest
        if live is not None and one.manifest["kind"] == "Namespace" and not is_ours(live):
            metadata = {**manifest["metadata"], "labels": dict(labels_of(manifest))}
            del metadata["labels"][PART_OF[0]]
            manifest = {**manifest, "metadata": metadata}
        after = apply(cluster, one, manifest, force=force)
        if live is None:
            result(f"{one.title}: created")
        elif _wanted(live) != _wanted(after):
            result(f"{one.title}: updated")


def delete_programs(cluster: Cluster, targets: Iterable[Target]) -> list[Object]:
    """Deletes all but what is kept. Returns the Pods that end by it."""
    pods: list[Object] = []
    ending = [one for one in targets if one.manifest["kind"] not in KEPT]
    order = list(_DELETED)
    for one in sorted(ending, key=lambda one: order.index(one.manifest["kind"])):
        live = cluster.find(one.path)
        if live is not None and one.manifest["kind"] == "Deployment" and is_ours(live):
            pods += pods_of(cluster, {**live, "kind": "Deployment"})
        delete(cluster, one.path, one.title, live)
    return pods


def superseded(cluster: Cluster, targets: Iterable[Target]) -> list[Target]:
    """What another version of vkube installed and this one does not have.

    Nothing of somebody else's is among it: an object has our label, was applied by vkube, and is of a kind
    that holds no data, in our own namespace or in none.
    """
    wanted = {one.path for one in targets}
    resources = Resources(cluster)
    found = []
    for kind, version in _DELETED.items():
        metadata = {"name": "any", "namespace": cluster.system}
        any_one = resources.target({"apiVersion": version, "kind": kind, "metadata": metadata}, "deploy")
        for live in cluster.items(any_one.collection, labelSelector="=".join(PART_OF)):
            one = Target({**live, "apiVersion": version, "kind": kind}, "deploy", any_one.collection)
            if one.path not in wanted and _is_applied_by_vkube(live):
                found.append(one)
    return found


def is_any_left(cluster: Cluster, targets: Iterable[Target]) -> bool:
    """Returns whether there is one of the objects that are not kept."""
    ending = (one for one in targets if one.manifest["kind"] not in KEPT)
    return any((live := cluster.find(one.path)) is not None and is_ours(live) for one in ending)


def delete(cluster: Cluster, path: str, title: str, live: Object | None) -> None:
    """Deletes the object if it is the control plane's; what replaced it meanwhile stays."""
    if live is None:
        return
    if not is_ours(live):
        note(f"{title} stays: it does not have the label {'='.join(PART_OF)}")
        return
    _delete(cluster, path, live)
    result(f"{title}: deleted")


def delete_secrets(cluster: Cluster, found: Iterable[Object]) -> None:
    for one in found:
        metadata = one["metadata"]
        _delete(cluster, f"/api/v1/namespaces/{metadata['namespace']}/secrets/{metadata['name']}", one)
        result(f"Secret {metadata['namespace']}/{metadata['name']}: deleted")


def bootstrap_secrets(cluster: Cluster) -> list[Object]:
    """The Secrets that the webhook made in labelled namespaces."""
    listed = cluster.items("/api/v1/secrets", fieldSelector=f"metadata.name={BOOTSTRAP_SECRET}")
    return [one for one in listed if one.get("type") == BOOTSTRAP_TYPE]


def make_claim_code(cluster: Cluster) -> bool:
    """Makes the Secret with a claim code if there is none. Returns whether it did."""
    collection = f"/api/v1/namespaces/{cluster.system}/secrets"
    if cluster.find(f"{collection}/{CLAIM_SECRET}") is not None:
        return False
    code = b64encode(secrets.token_hex(16).encode()).decode()
    metadata = {"name": CLAIM_SECRET, "namespace": cluster.system}
    cluster.create(
        collection, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {CLAIM_CODE: code}}
    )
    result(f"Secret {cluster.system}/{CLAIM_SECRET}: created, with a random claim code")
    return True


def content(cluster: Cluster, namespace: str) -> list[str]:
    """What is in the namespace, but for what Kubernetes makes in each: `ConfigMap shop/settings`."""
    found = []
    for path, kind in _namespaced(cluster):
        try:
            listed = list(cluster.items(path.format(namespace)))
        except ClusterError as error:
            found.append(f"perhaps a {kind} ({error})")
            continue
        for one in listed:
            name = one["metadata"]["name"]
            if not one["metadata"].get("ownerReferences") and (kind, name) not in _MADE_BY_KUBERNETES:
                found.append(f"{kind} {namespace}/{name}")
    return sorted(set(found))


def is_ours(live: Mapping[str, Any]) -> bool:
    """Returns whether the object has the control plane's label."""
    return labels_of(live).get(PART_OF[0]) == PART_OF[1]


def waiting_for_a_claim(cluster: Cluster, live: Object) -> Progress:
    """The progress of a cluster agent that is ready only when it is claimed: it can be claimed from the time
    at which its container has started."""
    progress = progress_of(live)
    if progress.done or progress.failed:
        return progress
    status = live.get("status") or {}
    replaced = (status.get("observedGeneration") or 0) >= live["metadata"]["generation"] and (
        status.get("updatedReplicas") or 0
    ) == (status.get("replicas") or 0)
    if replaced and any(_has_started(pod) for pod in pods_of(cluster, live)):
        return Progress("waits for its claim", done=True)
    return progress


def _wanted(live: Mapping[str, Any]) -> Object:
    """What was asked for: not what controllers note of it."""
    own = {key: value for key, value in live.items() if key not in ("metadata", "status")}
    return {**own, "labels": labels_of(live)}


def _is_applied_by_vkube(live: Mapping[str, Any]) -> bool:
    managers = live["metadata"].get("managedFields") or []
    return any((one.get("manager"), one.get("operation")) == (MANAGER, "Apply") for one in managers)


def _has_started(pod: Mapping[str, Any]) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return "deletionTimestamp" not in pod["metadata"] and any(one.get("started") for one in statuses)


def _delete(cluster: Cluster, path: str, live: Mapping[str, Any]) -> None:
    preconditions = {"uid": live["metadata"]["uid"]}
    cluster.delete(path, {"propagationPolicy": "Background", "preconditions": preconditions})


def _namespaced(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Path and kind of every resource that namespaces contain and that can be listed."""
    groups = cluster.get("/apis").get("groups") or []
    for version in ["/api/v1", *(f"/apis/{one['preferredVersion']['groupVersion']}" for one in groups)]:
        for one in cluster.get(version).get("resources") or []:
            is_listed = one["namespaced"] and "list" in one["verbs"] and "/" not in one["name"]
            if is_listed and one["kind"] not in _OF_THEMSELVES:
                yield f"{version}/namespaces/{{}}/{one['name']}", one["kind"]
