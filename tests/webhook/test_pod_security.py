"""An injected Pod is still let in where Pods are restricted (checklist 14)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.pods import container, pod, restricted_container
from tests.webhook.applying import CONFIGURATION, injected
from tests.webhook.pod_security import restricted
from webhook import quantities
from webhook.layout import CONTAINER

JSONObject = dict[str, Any]


@pytest.mark.parametrize("native", [True, False])
def test_a_restricted_pod_is_still_restricted_after_injection(native: bool) -> None:
    configuration = dataclasses.replace(CONFIGURATION, native_sidecar=native)
    subject = pod(restricted_container("web"), init=[restricted_container("migrate")])
    assert restricted(subject) == []
    assert restricted(injected(subject, configuration)) == []


@pytest.mark.parametrize(
    "context",
    [
        {"runAsUser": 0, "runAsNonRoot": False},
        {"seccompProfile": {"type": "Unconfined"}},
        {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000},
    ],
)
def test_the_agent_does_not_take_over_what_the_pod_says_for_its_containers(context: JSONObject) -> None:
    result = injected(pod(container("web"), securityContext=context))
    assert not [problem for problem in restricted(result) if problem.startswith(CONTAINER)]
    agent = result["spec"]["initContainers"][0]["securityContext"]
    assert agent["runAsNonRoot"] is True
    assert agent["runAsUser"] == agent["runAsGroup"] == 58193
    assert agent["readOnlyRootFilesystem"] is True


def test_the_check_itself_finds_what_is_forbidden() -> None:
    subject = pod(
        container("web", securityContext={"privileged": True}), volumes=[{"name": "h", "hostPath": {}}]
    )
    assert restricted(subject) == [
        "hostPath volume h",
        "web: privileged",
        "volume h: hostPath",
        "web: allowPrivilegeEscalation != false",
        "web: runAsNonRoot != true",
        "web: seccompProfile",
        "web: capabilities not dropped",
    ]


def test_a_resource_quota_finds_requests_and_limits_and_each_request_within_its_limit() -> None:
    resources = injected(pod())["spec"]["initContainers"][0]["resources"]
    for kind in ("cpu", "memory"):
        request, limit = (quantities.parse(resources[which][kind]) for which in ("requests", "limits"))
        assert 0 < request <= limit


def test_a_limit_range_fills_in_nothing() -> None:
    # LimitRanger runs again after the webhooks and writes its defaults where a value is missing.
    resources = injected(pod())["spec"]["initContainers"][0]["resources"]
    assert {which: set(values) for which, values in resources.items()} == {
        "requests": {"cpu", "memory"},
        "limits": {"cpu", "memory"},
    }
