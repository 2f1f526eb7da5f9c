"""What a namespace's ResourceQuotas refuse after the injection. How a real API server decides is compared in
tests/endtoend/test_preflight_limits.py."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.pods import container, pod
from tests.vkube.admission.resources import AGENT, SMALL
from tests.webhook.applying import CONFIGURATION, injected
from vkube.admission.quotas import Change, beyond_quotas, counts_secrets

JSONObject = dict[str, Any]


def change(*containers: JSONObject, **fields: Any) -> Change:
    before = pod(*(containers or [container(resources=SMALL)]), annotations=AGENT, **fields)
    return Change(before, injected(before))


def quota(
    used: JSONObject, scopes: list[str] | None = None, selector: JSONObject | None = None, **hard: str
) -> JSONObject:
    limits = {key.replace("_", "."): value for key, value in hard.items()}
    return {
        "metadata": {"name": "q"},
        "spec": {
            "hard": limits,
            **({"scopes": scopes} if scopes else {}),
            **({"scopeSelector": {"matchExpressions": [selector]}} if selector else {}),
        },
        "status": {"hard": limits, "used": used},
    }


def counting(key: str, most: str, used: str) -> JSONObject:
    return {**quota({}), "status": {"hard": {key: most}, "used": {key: used}}}


def beyond(changes: list[Change], one: JSONObject) -> list[str]:
    return beyond_quotas(changes, [one], has_secret=True)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (quota({"requests.memory": "36Mi"}, requests_memory="100Mi"), None),
        (
            quota({"requests.memory": "37Mi"}, requests_memory="100Mi"),
            "64Mi more of requests.memory is needed for 2 Pods with the pod agent, and 63Mi is left",
        ),
        (quota({}, cpu="30m"), "0.04 more of cpu is needed"),
        (quota({}, limits_cpu="300m"), "0.4 more of limits.cpu is needed"),
        (quota({"limits.cpu": "2"}, limits_cpu="1"), "and 0 is left"),
        (quota({}, scopes=["BestEffort"], cpu="0"), None),
        (quota({"pods": "9"}, pods="9"), None),
        (quota({}, secrets="0"), None),
    ],
)
def test_a_quota_needs_room_for_what_the_pods_take_more(one: JSONObject, why: str | None) -> None:
    found = beyond([change(), change()], one)
    assert len(found) == (why is not None)
    assert why is None or why in found[0]


def test_an_init_container_that_takes_more_than_the_containers_leaves_room_for_a_classic_pod_agent() -> None:
    """The pod agent that is no native sidecar runs after it."""
    first = container("first", resources={"limits": {"memory": "1Gi"}})
    before = pod(container(resources=SMALL), init=[first], annotations=AGENT)
    full = quota({"limits.memory": "1Gi"}, limits_memory="1Gi")
    classic = dataclasses.replace(CONFIGURATION, native_sidecar=False)
    assert beyond([Change(before, injected(before, classic))], full) == []
    assert len(beyond([Change(before, injected(before))], full)) == 1


def test_a_pod_without_the_pod_agent_takes_no_more_than_before() -> None:
    assert beyond([Change(pod(), pod())], quota({}, requests_cpu="0", pods="0")) == [
        "ResourceQuota q: it demands requests.cpu of every container, and web states none"
    ]


def test_the_secret_needs_room_unless_it_is_there() -> None:
    one = counting("count/secrets", "5", used="5")
    assert counts_secrets([one])
    assert not counts_secrets([quota({}, pods="1")])
    assert beyond_quotas([], [one], has_secret=True) == []
    (why,) = beyond_quotas([], [one], has_secret=False)
    assert "1 more of count/secrets is needed for the Secret vanadium-bootstrap, and 0 is left" in why


def test_certificates_by_volume_need_room_for_the_requests_of_the_kubelets() -> None:
    key = "count/podcertificaterequests.certificates.k8s.io"
    changes = [Change(pod(), pod(), by_volume=True), Change(pod(), pod())]
    (why,) = beyond(changes, counting(key, "2", used="2"))
    assert (
        why
        == f"ResourceQuota q: 1 more of {key} is needed for requests for certificates of 1 Pod, and 0 is left"
    )
    assert beyond(changes, counting(key, "2", used="1")) == []


def selecting(operator: str, *values: str) -> JSONObject:
    return {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}


ABROAD = {"labelSelector": {}, "namespaceSelector": {}, "topologyKey": "kubernetes.io/hostname"}
PREFERRED = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": ABROAD}]}


@pytest.mark.parametrize(
    ("fields", "scopes", "selector", "is_counted"),
    [
        ({}, ["NotTerminating"], None, True),
        ({}, ["Terminating"], None, False),
        ({"activeDeadlineSeconds": 60}, ["Terminating", "NotBestEffort"], None, True),
        ({"activeDeadlineSeconds": 60}, ["NotTerminating"], None, False),
        ({}, ["BestEffort"], None, False),
        ({}, ["PriorityClass"], None, False),
        ({"priorityClassName": "high"}, ["PriorityClass"], None, True),
        ({"priorityClassName": "high"}, None, selecting("In", "high", "higher"), True),
        ({"priorityClassName": "low"}, None, selecting("In", "high"), False),
        ({}, None, selecting("In", "high"), False),
        ({"priorityClassName": "low"}, None, selecting("NotIn", "high"), True),
        ({}, None, selecting("NotIn", "high"), True),
        ({}, None, selecting("DoesNotExist"), True),
        ({"priorityClassName": "low"}, ["Terminating"], selecting("Exists"), False),
        ({}, ["CrossNamespacePodAffinity"], None, False),
        ({"affinity": {"podAntiAffinity": PREFERRED}}, ["CrossNamespacePodAffinity"], None, True),
        ({}, ["VolumeAttributesClass"], None, False),
    ],
)
def test_a_quota_with_scopes_counts_the_pods_in_all_of_them(
    fields: JSONObject, scopes: list[str] | None, selector: JSONObject | None, is_counted: bool
) -> None:
    full = quota({}, scopes, selector, requests_memory="1Mi")
    assert bool(beyond([change(**fields)], full)) is is_counted


def test_a_best_effort_pod_comes_under_a_quota_for_others() -> None:
    """The pod agent's resources make it Burstable: the quota then counts the whole Pod, and demands what its
    containers do not state."""
    plain = change(container())
    (why,) = beyond([plain, plain], quota({}, ["NotBestEffort"], requests_cpu="8"))
    assert why == "ResourceQuota q: it demands requests.cpu of every container, and web states none"
    (why,) = beyond([plain, plain], quota({}, ["NotBestEffort"], pods="1"))
    assert why == "ResourceQuota q: 2 more of pods is needed for 2 Pods with the pod agent, and 1 is left"
    whole = change(container(), resources={"requests": {"cpu": "1", "memory": "1Gi"}})
    assert beyond([whole], quota({}, ["NotBestEffort"], requests_cpu="8")) == []
    assert beyond([whole], quota({}, ["NotBestEffort"], pods="0")) == []
