"""The workloads of a namespace: what makes Pods there, without what another workload made."""

from __future__ import annotations

from collections.abc import Iterator

from vkube.admission.templates import Template
from vkube.connection.cluster import Cluster
from vkube.workloads.template import COLLECTIONS, Object


def workloads(cluster: Cluster, namespace: str) -> Iterator[Template]:
    """The Pod of each workload, by kind. Raises ClusterError, UnreachableError."""
    for template, _ in _found(cluster, namespace):
        yield template


def workloads_with_pods(cluster: Cluster, namespace: str) -> Iterator[tuple[Template, list[Object]]]:
    """The templates, each with its Pods that run or are to run in the cluster, the oldest first."""
    between = {
        one["metadata"]["uid"]: controller
        for kind in ("ReplicaSet", "Job")
        for one in cluster.items(COLLECTIONS[kind].format(namespace))
        if (controller := _controller(one)) is not None
    }
    live: dict[str, list[Object]] = {}
    for pod in sorted(
        pods(cluster, namespace), key=lambda one: str(one["metadata"].get("creationTimestamp"))
    ):
        uid = _controller(pod) or pod["metadata"]["uid"]
        live.setdefault(between.get(uid, uid), []).append(pod)
    for template, one in _found(cluster, namespace):
        yield template, live.get(one["metadata"]["uid"], [])


def _found(cluster: Cluster, namespace: str) -> Iterator[tuple[Template, Object]]:
    for kind, path in COLLECTIONS.items():
        for one in cluster.items(path.format(namespace)):
            if owner(one) is None and (template := Template.of({**one, "kind": kind}, namespace)) is not None:
                yield template, one


def _controller(one: Object) -> str | None:
    """The uid of an object's controller; None without one."""
    references = one["metadata"].get("ownerReferences") or []
    return next((str(each["uid"]) for each in references if each.get("controller")), None)


def pods(cluster: Cluster, namespace: str | None, **query: object) -> Iterator[Object]:
    """The Pods of one namespace, or of all, that have not ended and are not being deleted."""
    path = "/api/v1/pods" if namespace is None else COLLECTIONS["Pod"].format(namespace)
    for pod in cluster.items(path, **query):
        if is_there(pod):
            yield {"apiVersion": "v1", "kind": "Pod", **pod}


def is_there(pod: Object) -> bool:
    """Whether a Pod has not ended, and is not being deleted."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def owner(one: Object) -> tuple[str, str] | None:
    """Kind and name of the controller of an object; None without one."""
    for reference in one["metadata"].get("ownerReferences") or []:
        if reference.get("controller"):
            return str(reference["kind"]), str(reference["name"])
    return None
