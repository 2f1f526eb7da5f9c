"""What a namespace's LimitRanges write into Pods, and refuse after the injection. How a real API server
decides is compared in tests/endtoend/test_preflight_limits.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pods import container, pod
from tests.vkube.admission.resources import AGENT, SMALL
from tests.webhook.applying import injected
from vkube.admission.limit_ranges import beyond_limit_ranges, defaulted

JSONObject = dict[str, Any]


def subject(**fields: Any) -> JSONObject:
    return injected(pod(container(resources=SMALL), annotations=AGENT, **fields))


def limit_range(kind: str, **limits: JSONObject) -> JSONObject:
    return {"metadata": {"name": "l"}, "spec": {"limits": [{"type": kind, **limits}]}}


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (limit_range("Container", max={"memory": "64Mi", "cpu": "1"}), None),
        (
            limit_range("Container", max={"memory": "63Mi"}),
            "limits.memory of container vanadium-pod-agent is 64Mi",
        ),
        (
            limit_range("Container", min={"cpu": "15m"}),
            "requests.cpu of container web is 0.01, and its min 15m",
        ),
        (limit_range("Container", maxLimitRequestRatio={"cpu": "10"}), None),
        (
            limit_range("Container", maxLimitRequestRatio={"cpu": "4"}),
            "cpu limit of container vanadium-pod-agent is 10 times its request, and may be 4",
        ),
        (limit_range("Pod", max={"memory": "96Mi"}), None),
        (limit_range("Pod", max={"memory": "95Mi"}), "limits.memory of Pod is 96Mi, and its max 95Mi"),
        (limit_range("Pod", max={"ephemeral-storage": "1Gi"}), "Pod states no limits.ephemeral-storage"),
        (limit_range("Pod", maxLimitRequestRatio={"memory": "2"}), None),
        (limit_range("Pod", maxLimitRequestRatio={"ephemeral-storage": "2"}), "states no requests"),
        (limit_range("PersistentVolumeClaim", max={"storage": "1"}), None),
    ],
)
def test_a_limit_range_is_compared_with_each_container_and_with_the_whole_pod(
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


def test_what_is_not_stated_is_filled_in_before_it_is_compared() -> None:
    """As the API server stores it, a LimitRange with a largest amount has it as its default too."""
    most = {"ephemeral-storage": "1Gi"}
    limits = [limit_range("Container", max=most, default=most, defaultRequest=most)]
    filled = defaulted(subject(), limits)
    assert beyond_limit_ranges(filled, limits) == []
    assert filled["spec"]["initContainers"][0]["resources"]["limits"]["ephemeral-storage"] == "1Gi"
    (one,) = defaulted(pod(container(resources={"limits": {"cpu": "1"}})), [])["spec"]["containers"]
    assert one["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}


def test_a_pod_that_is_guaranteed_by_a_limit_range_is_foreseen_as_one() -> None:
    """A request that is not stated is the limit, also where a LimitRange states the limit."""
    both = {"cpu": "200m", "memory": "64Mi"}
    guaranteed = injected(defaulted(pod(), [limit_range("Container", default=both, defaultRequest=both)]))
    agent = guaranteed["spec"]["initContainers"][0]["resources"]
    assert agent["requests"] == agent["limits"]
