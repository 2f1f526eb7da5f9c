"""Waits for workloads, and takes a rollout back that makes no progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vkube.connection.cluster import Cluster
from vkube.errors import ClusterError
from vkube.output.lines import note, result
from vkube.workloads.live import MANAGER, Object, Target, pods_of
from vkube.workloads.pod_state import summary
from vkube.workloads.progress import Progress, progress_of
from vkube.workloads.template import REPLACED_IN_PLACE

_LOOK_SECONDS = 1.0
_JSON_PATCH = "application/json-patch+json"


def wait(
    cluster: Cluster,
    workloads: Sequence[Target],
    seconds: float,
    judged: Callable[[Object], Progress] = progress_of,
) -> None:
    """Until each is rolled out, or has completed, as `judged` has it. Notes what each waits for.

    Raises ClusterError with the reason when one fails, or is not there in time.
    """
    ends_at = time.monotonic() + seconds
    for target in workloads:
        said = ""
        while True:
            live = cluster.get(target.path)
            progress = judged(live)
            if progress.done:
                result(f"{target.title}: {progress.text}")
                break
            reasons = _reasons(cluster, live)
            text = f"{target.title}: {'; '.join([progress.text, *reasons])}"
            if progress.failed:
                raise ClusterError(text)
            if time.monotonic() > ends_at:
                raise ClusterError(f"{text}; not ready after {seconds:g} s")
            if text != said:
                note(text)
                said = text
            time.sleep(_LOOK_SECONDS)


def roll_back(cluster: Cluster, target: Target, before: Object) -> bool:
    """Gives the workload the template that it had, if its controller rolls one out. Returns whether it does.

    A StatefulSet's controller waits for ever for a Pod that does not become ready, so that Pod is deleted:
    https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
    """
    if before["kind"] not in REPLACED_IN_PLACE:
        return False
    bad = cluster.get(target.path)
    back = [{"op": "replace", "path": "/spec/template", "value": before["spec"]["template"]}]
    cluster.patch(target.path, back, kind=_JSON_PATCH, fieldManager=MANAGER)
    if before["kind"] == "StatefulSet":
        revision = (bad.get("status") or {}).get("updateRevision")
        for pod in pods_of(cluster, bad):
            labels = pod["metadata"].get("labels") or {}
            if labels.get("controller-revision-hash") == revision and not _is_ready(pod):
                cluster.delete(f"/api/v1/namespaces/{target.namespace}/pods/{pod['metadata']['name']}")
    return True


def wait_gone(cluster: Cluster, pods: Sequence[Object], seconds: float) -> list[str]:
    """Until none of the Pods is there. Returns the names of those that are after that time."""
    ends_at = time.monotonic() + seconds
    left = {(pod["metadata"]["namespace"], pod["metadata"]["name"], pod["metadata"]["uid"]) for pod in pods}
    while left:
        for namespace, name, uid in list(left):
            found = cluster.find(f"/api/v1/namespaces/{namespace}/pods/{name}")
            if found is None or found["metadata"]["uid"] != uid:
                left.discard((namespace, name, uid))
        if left and time.monotonic() > ends_at:
            break
        if left:
            time.sleep(_LOOK_SECONDS)
    return sorted(name for _, name, _ in left)


def _reasons(cluster: Cluster, live: Object) -> list[str]:
    """What the Pods that are not ready wait for."""
    if live["kind"] == "Pod":
        return [summary(live["status"])] if live.get("status") else []
    waiting = [pod for pod in pods_of(cluster, live) if not _is_ready(pod)]
    return [f"{pod['metadata']['name']} {summary(pod.get('status') or {})}" for pod in waiting[:3]]


def _is_ready(pod: Object) -> bool:
    return progress_of({**pod, "kind": "Pod"}).done
