"""What a namespace's LimitRanges and ResourceQuotas refuse after the injection."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import injected
from vkube.admission.limits import beyond_limit_ranges, beyond_quotas

JSONObject = dict[str, Any]
SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}
AGENT = {
    "vanadium.io/cpu-request": "20m",
    "vanadium.io/cpu-limit": "200m",
    "vanadium.io/memory-request": "32Mi",
    "vanadium.io/memory-limit": "64Mi",
}


def subject(**fields: Any) -> JSONObject:
    return injected(pod(container(resources=SMALL), annotations=AGENT, **fields))


def limit_range(kind: str, **limits: JSONObject) -> JSONObject:
    return {"metadata": {"name": "l"}, "spec": {"limits": [{"type": kind, **limits}]}}


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


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (limit_range("Container", max={"memory": "64Mi", "cpu": "1"}), None),
        (
            limit_range("Container", max={"memory": "63Mi"}),
            "limits.memory of container vanadium-pod-agent is 64Mi",
        ),
        (
            limit_range("Container", min={"cpu": "50m"}),
            "requests.cpu of container vanadium-pod-agent is 0.02",
        ),
        (limit_range("Container", max={"ephemeral-storage": "1Gi"}), "states no limits.ephemeral-storage"),
        (limit_range("Container", maxLimitRequestRatio={"cpu": "10"}), None),
        (
            limit_range("Container", maxLimitRequestRatio={"cpu": "4"}),
            "is 10 times its request, and may be 4",
        ),
        (limit_range("Pod", max={"memory": "96Mi"}), None),
        (limit_range("Pod", max={"memory": "95Mi"}), "limits.memory of Pod is 96Mi, and its max 95Mi"),
        (limit_range("PersistentVolumeClaim", max={"storage": "1"}), None),
    ],
)
def test_a_limit_range_is_compared_with_the_pod_agent_and_with_the_whole_pod(
    limits: JSONObject, why: str | None
) -> None:
    found = beyond_limit_ranges(subject(), [limits])
    assert len(found) == (why is not None)
    assert why is None or why in found[0]


def test_an_init_container_counts_beside_the_pod_agent_and_not_beside_the_others() -> None:
    initial = container("m", resources={"limits": {"memory": "48Mi"}})
    asking = limit_range("Pod", max={"memory": "111Mi"})
    (why,) = beyond_limit_ranges(subject(init=[initial]), [asking])
    assert "limits.memory of Pod is 112Mi" in why


def test_a_pod_without_the_pod_agent_is_not_judged() -> None:
    assert beyond_limit_ranges(pod(), [limit_range("Container", max={"memory": "1"})]) == []
    assert beyond_quotas([pod()], [quota({}, requests_cpu="0")]) == []


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (quota({"requests.memory": "36Mi"}, requests_memory="100Mi"), None),
        (
            quota({"requests.memory": "37Mi"}, requests_memory="100Mi"),
            "2 pod agents need 64Mi of requests.memory, and 63Mi is left",
        ),
        (quota({}, cpu="30m"), "need 0.04 of cpu"),
        (quota({}, limits_cpu="300m"), "need 0.4 of limits.cpu"),
        (quota({}, scopes=["BestEffort"], cpu="0"), None),
        (quota({"pods": "9"}, pods="9"), None),
    ],
)
def test_a_quota_needs_room_for_the_pod_agents_of_all_pods(one: JSONObject, why: str | None) -> None:
    found = beyond_quotas([subject(), subject()], [one])
    assert len(found) == (why is not None)
    assert why is None or why in found[0]


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
    assert bool(beyond_quotas([subject(**fields)], [full])) is is_counted


def test_a_best_effort_pod_comes_under_a_quota_for_others_which_demands_what_it_does_not_state() -> None:
    """The pod agent's resources make it Burstable."""
    plain = injected(pod(container()))
    (why,) = beyond_quotas([plain, plain], [quota({}, ["NotBestEffort"], requests_cpu="8")])
    assert why == "ResourceQuota q: it demands requests.cpu of every container, and web states none"
    whole = injected(pod(container(), resources={"requests": {"cpu": "1", "memory": "1Gi"}}))
    assert beyond_quotas([whole], [quota({}, ["NotBestEffort"], requests_cpu="8")]) == []
