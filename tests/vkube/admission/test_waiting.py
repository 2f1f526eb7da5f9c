"""Why a Pod with a volume does not start, as a function of what the API server has about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.pods import container, pod
from vkube.admission.waiting import Told, Waiting, is_starting, waiting, waiting_in
from vkube.connection.cluster import Cluster
from webhook import volume
from webhook.volume_support import Kubelet, VolumeSupport

Object = dict[str, Any]
POSSIBLE = VolumeSupport(None)
NEW, OLD = Kubelet("n1", "v1.37.2"), Kubelet("n1", "v1.36.4")
PREPARED = {"type": "PodReadyToStartContainers", "status": "True"}
CREATING = {"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}}


def subject(*, status: Object | None = None, volumes: list[Object] | None = None) -> Object:
    made = pod(container(), volumes=[volume.volume(None)] if volumes is None else volumes, nodeName="n1")
    made["metadata"] |= {"name": "web-1", "namespace": "shop", "uid": "u"}
    return {**made, "status": status or {"phase": "Pending", "containerStatuses": [CREATING]}}


def request(condition: str | None, at: str = "2026-11-28T12:00:02Z", **spec: str) -> Object:
    answer = {"type": condition, "reason": "Revoked", "message": "the replica is revoked"}
    return {
        "metadata": {"creationTimestamp": at},
        "spec": {"podUID": "u", "signerName": "vanadium.io/replica", **spec},
        "status": {"conditions": [answer]} if condition else {},
    }


def event(reason: str, message: str, uid: str = "u") -> Object:
    return {
        "metadata": {"creationTimestamp": "2026-11-28T12:00:03Z"},
        "involvedObject": {"uid": uid},
        "reason": reason,
        "message": message,
    }


def told(
    *found: Object, support: VolumeSupport = POSSIBLE, kubelet: Kubelet | None = NEW, of: Object | None = None
) -> Waiting | None:
    events = [one for one in found if "reason" in one]
    asked = [one for one in found if "spec" in one]
    return waiting(of or subject(), Told(asked, events), support, dict([kubelet] if kubelet else []))


@pytest.mark.parametrize(
    ("status", "starts"),
    [
        ({}, True),
        ({"phase": "Running"}, False),
        ({"phase": "Pending", "containerStatuses": [CREATING]}, True),
        ({"phase": "Pending", "conditions": [PREPARED]}, False),
        ({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}, False),
        ({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "Pulls"}}}]}, False),
    ],
)  # fmt: skip
def test_a_pod_starts_until_its_volumes_are_prepared(status: Object, starts: bool) -> None:
    assert is_starting({**subject(), "status": status}) is starts


def test_a_pod_that_no_node_has_yet_or_that_is_deleted_does_not_wait_for_a_certificate() -> None:
    unscheduled, deleted = subject(), subject()
    del unscheduled["spec"]["nodeName"]
    deleted["metadata"]["deletionTimestamp"] = "2026-11-28T12:00:00Z"
    assert (told(of=unscheduled), told(of=deleted), told(of=subject(volumes=[]))) == (None, None, None)


@pytest.mark.parametrize(
    ("found", "why", "todo"),
    [
        ((request("Denied"),), "denied: Revoked: the replica is revoked", "delete the Pod"),
        ((event("CertificateDenied", "Revoked: it is"),), "denied: Revoked", "delete the Pod"),
        ((request("Failed"),), "its request for a certificate failed: Revoked", "delete the Pod"),
        ((request("Noticed"),), "the cluster agent has not answered", "vkube logs cluster-agent"),
        ((request(None), event("CertificateWaits", "Unclaimed: nobody claimed it")),
         "waits: Unclaimed: nobody claimed it", "comes by itself"),
        ((request(None), event("CertificateWaits", "MadeUnguarded: it is too early")),
         "waits: MadeUnguarded", "delete the Pod: its successor"),
        ((request(None), event("CertificateWaits", "of another Pod", uid="v")),
         "the cluster agent has not answered", "vkube logs cluster-agent"),
        ((event("FailedMount", "no\nsource"),), "no certificate: no source", "kubectl describe pod web-1 -n"),
        ((request(None, podUID="v"),), "asked for no certificate yet", "kubectl describe pod web-1 -n shop"),
        ((), "asked for no certificate yet", "kubectl describe pod web-1 -n shop"),
    ],
)  # fmt: skip
def test_why_it_waits_and_what_to_do(found: tuple[Object, ...], why: str, todo: str) -> None:
    waits = told(*found)
    assert waits is not None
    assert why in waits.why
    assert todo in waits.todo


def test_a_node_or_a_cluster_that_cannot_is_told_with_its_version() -> None:
    old, without = told(kubelet=OLD), told(support=VolumeSupport("there is no ClusterTrustBundle x"))
    assert old is not None
    assert old.why == "the kubelet of its node n1 is v1.36.4, older than 1.37"
    assert without is not None
    assert without.why == "there is no ClusterTrustBundle x"


def test_who_may_not_see_the_nodes_is_not_told_that_as_the_cause() -> None:
    waits = told(support=VolumeSupport("what the kubelets can do cannot be seen"), kubelet=None)
    assert waits is not None
    assert waits.why == "its kubelet has asked for no certificate yet"


def test_what_has_its_certificate_waits_for_something_else() -> None:
    denied = request("Denied", at="2026-11-28T11:00:00Z")
    assert told(denied, request("Issued")) is None


def test_an_answer_counts_beside_conditions_of_other_types() -> None:
    answered, issued = request("Noticed"), request("Issued")
    answered["status"]["conditions"] += issued["status"]["conditions"]
    assert told(answered) is None


class Counted(dict[str, Any]):
    """What is looked at, with how often anything is."""

    looks = 0

    def __getitem__(self, key: str) -> Any:
        Counted.looks += 1
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        Counted.looks += 1
        return super().get(key, default)


class Crowd:
    """A namespace with many starting Pods, each with a request and an Event."""

    def __init__(self, number: int) -> None:
        self.asked: list[dict[str, object]] = []
        self.pods = [subject() for _ in range(number)]
        for position, one in enumerate(self.pods):
            one["metadata"] |= {"uid": f"u{position}", "name": f"web-{position}"}
        self._requests = [Counted(request(None, podUID=one["metadata"]["uid"])) for one in self.pods]
        told = [event("CertificateWaits", "Unclaimed", one["metadata"]["uid"]) for one in self.pods]
        self._events = [Counted(one) for one in told]

    def items(self, path: str, **query: object) -> Iterator[Object]:
        self.asked.append(query)
        yield from self._events if path.endswith("/events") else self._requests


def test_many_that_start_are_each_told_why_from_one_look_at_requests_and_events() -> None:
    """For each, those of all were looked at: nine million for 3000 Pods."""
    number, Counted.looks = 200, 0
    crowd = Crowd(number)
    found = waiting_in(cast(Cluster, crowd), "shop", crowd.pods, POSSIBLE, [NEW])
    assert {one.why for one in found.values()} == {"its certificate waits: Unclaimed"}
    assert len(found) == number
    assert Counted.looks < 20 * number


def test_only_requests_of_our_signer_are_fetched() -> None:
    crowd = Crowd(1)
    waiting_in(cast(Cluster, crowd), "shop", crowd.pods, POSSIBLE, [NEW])
    assert {"fieldSelector": "spec.signerName=vanadium.io/replica"} in crowd.asked
