"""Why a Pod whose kubelet keeps its identity in a volume does not start: it waits for its certificate."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from vkube.admission.injected import has_certificate
from vkube.connection.cluster import Cluster, Object
from vkube.errors import NotFoundError
from webhook.layout import DELIVERY_ANNOTATION, SIGNER
from webhook.volume_support import FIRST_VERSION, GROUP_VERSION, Kubelet, VolumeSupport, is_able

PATIENCE: Final = timedelta(seconds=30)
"""A younger Pod has not waited for long."""
DENIED, WAITS, MOUNT = "CertificateDenied", "CertificateWaits", "FailedMount"
_ANSWERS: Final = {
    "Issued": "",
    "Denied": "its certificate was denied",
    "Failed": "its request for a certificate failed",
}
_CREATING = (None, "ContainerCreating", "PodInitializing")
_DOCUMENT = "docs/pod-certificates.md, When a Pod waits"
_ANEW = "and make the Pod anew"
_DELETE = "then delete the Pod: its kubelet does not ask again"
_LONGEST = 400


class Waiting(NamedTuple):
    """Why a Pod waits, and what to do."""

    why: str
    todo: str


class Told(NamedTuple):
    """What the API server has about a namespace's Pods: the kubelets' requests, and the Events."""

    requests: Sequence[Object]
    events: Sequence[Object]


def is_starting(pod: Object) -> bool:
    """Whether a Pod is on a node that has not prepared its volumes yet."""
    status = pod.get("status") or {}
    if status.get("phase", "Pending") != "Pending" or not pod["spec"].get("nodeName"):
        return False
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or []}
    if conditions.get("PodReadyToStartContainers") == "True":
        return False
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return all(_is_created(one.get("state") or {}) for one in containers)


def _is_created(state: Mapping[str, Any]) -> bool:
    waits = state.get("waiting") or {}
    return not {"running", "terminated"} & set(state) and waits.get("reason") in _CREATING


def waiting(pod: Object, told: Told, support: VolumeSupport, versions: Mapping[str, str]) -> Waiting | None:
    """Why the Pod waits for its certificate; None when it does not. `versions` are the kubelets', by node."""
    if not has_certificate(pod) or not is_starting(pod):
        return None
    events = [one for one in told.events if _subject(one) == pod["metadata"]["uid"]]
    if asked := _latest(one for one in told.requests if is_of(one, pod)):
        return _unanswered(events) if (answer := _answer(asked)) is None else _answered(*answer)
    if denied := _event(events, DENIED):
        return _denied(denied, _ANSWERS["Denied"])
    return _not_asked(pod, events, support, versions)


def waiting_in(
    cluster: Cluster,
    namespace: str,
    pods: Iterable[Object],
    support: VolumeSupport,
    kubelets: Sequence[Kubelet],
    now: datetime | None = None,
) -> dict[str, Waiting]:
    """The Pods of a namespace that wait for a certificate, by name; with `now`, those that have waited for
    long. Asks for nothing where none starts. Raises ClusterError, UnreachableError."""
    starting = [one for one in pods if has_certificate(one) and is_starting(one)]
    if now is not None:
        starting = [one for one in starting if now - _created(one) >= PATIENCE]
    if not starting:
        return {}
    asked, told = defaultdict[str, list[Object]](list), defaultdict[str, list[Object]](list)
    for request in requests(cluster, namespace):
        asked[request["spec"]["podUID"]].append(request)
    for event in _events(cluster, namespace):
        told[_subject(event)].append(event)
    found, versions = {}, dict(kubelets)
    for pod in starting:
        uid = pod["metadata"]["uid"]
        if (why := waiting(pod, Told(asked[uid], told[uid]), support, versions)) is not None:
            found[pod["metadata"]["name"]] = why
    return found


def requests(cluster: Cluster, namespace: str, pod: str | None = None) -> Iterable[Object]:
    """The requests to our signer for certificates of a namespace's Pods, or of those named `pod`, as long as
    Kubernetes keeps them. Raises ClusterError, UnreachableError."""
    path = f"/apis/{GROUP_VERSION}/namespaces/{namespace}/podcertificaterequests"
    selector = f"spec.signerName={SIGNER}" + ("" if pod is None else f",spec.podName={pod}")
    try:
        return list(cluster.items(path, fieldSelector=selector))
    except NotFoundError:  # an older API server
        return []


def is_of(request: Object, pod: Object) -> bool:
    """Whether the request is for that Pod, and not for an earlier one of its name."""
    return bool(
        request["spec"]["podUID"] == pod["metadata"]["uid"] and request["spec"]["signerName"] == SIGNER
    )


def _events(cluster: Cluster, namespace: str) -> Iterable[Object]:
    selector = "involvedObject.kind=Pod,type=Warning"
    return cluster.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector)


def _created(one: Object) -> datetime:
    return datetime.fromisoformat(one["metadata"]["creationTimestamp"])


def _latest(found: Iterable[Object]) -> Object | None:
    return max(found, key=_created, default=None)


def _answer(request: Object) -> tuple[str, str] | None:
    """The type and the text of the condition that answers it; None without one."""
    for one in (request.get("status") or {}).get("conditions") or []:
        if one["type"] in _ANSWERS:
            return str(one["type"]), f"{one.get('reason')}: {one.get('message')}"
    return None


def _answered(kind: str, text: str) -> Waiting | None:
    return None if kind == "Issued" else _denied(text, _ANSWERS[kind])


def _denied(text: str, what: str) -> Waiting:
    return Waiting(f"{what}: {text}", f"repair that, {_DELETE} ({_DOCUMENT})")


def _unanswered(events: Sequence[Object]) -> Waiting:
    text = _event(events, WAITS)
    if text is None:
        return Waiting(
            "the cluster agent has not answered its kubelet's request for a certificate",
            "vkube check, vkube logs cluster-agent: is it there, and does it sign?",
        )
    if text.startswith("MadeUnguarded"):
        return Waiting(f"its certificate waits: {text}", "delete the Pod: its successor does not wait")
    return Waiting(f"its certificate waits: {text}", f"repair that: the answer comes by itself ({_DOCUMENT})")


def _not_asked(
    pod: Object, events: Sequence[Object], support: VolumeSupport, versions: Mapping[str, str]
) -> Waiting:
    metadata, node = pod["metadata"], pod["spec"]["nodeName"]
    if versions and support.impossible is not None:
        return Waiting(
            support.impossible, f"vkube check; or annotate {DELIVERY_ANNOTATION}: sidecar, {_ANEW}"
        )
    if node in versions and not is_able(versions[node], FIRST_VERSION):
        needed = ".".join(map(str, FIRST_VERSION))
        return Waiting(
            f"the kubelet of its node {node} is {versions[node]}, older than {needed}",
            f"keep the Pod from such nodes, or annotate {DELIVERY_ANNOTATION}: sidecar, {_ANEW}",
        )
    described = f"kubectl describe pod {metadata['name']} -n {metadata['namespace']}"
    if mount := _event(events, MOUNT):
        return Waiting(f"its kubelet has asked for no certificate: {mount}", f"{described} ({_DOCUMENT})")
    return Waiting("its kubelet has asked for no certificate yet", f"{described} has its kubelet's reason")


def _subject(event: Object) -> str:
    """The UID of what it is about."""
    return str((event.get("involvedObject") or {}).get("uid"))


def _event(events: Sequence[Object], reason: str) -> str | None:
    """The message of the latest Event with that reason, in a line."""
    found = _latest(one for one in events if one.get("reason") == reason)
    return " ".join(str(found.get("message")).split())[:_LONGEST] if found else None
