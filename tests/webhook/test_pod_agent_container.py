"""What an administrator and a pod author decide about the injected container, and what it leaves alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.pods import container, pod
from tests.webhook.applying import CONFIGURATION, injected
from webhook.resources import Resources

JSONObject = dict[str, Any]
LIMITS = {"cpu": "1", "memory": "1Gi"}


def agent(subject: JSONObject) -> JSONObject:
    found: JSONObject = subject["spec"]["initContainers"][0]
    return found


def configured(**changes: Any) -> Any:
    return dataclasses.replace(CONFIGURATION, **changes)


def test_the_pull_policy_is_the_clusters_own_unless_somebody_states_one() -> None:
    assert "imagePullPolicy" not in agent(injected(pod()))
    always = configured(pull_policy="Always")
    assert agent(injected(pod(), always))["imagePullPolicy"] == "Always"
    stated = pod(annotations={"vanadium.io/image-pull-policy": "Never"})
    assert agent(injected(stated, always))["imagePullPolicy"] == "Never"


@pytest.mark.parametrize(
    ("own", "after"),
    [(None, ["a", "b"]), ([], ["a", "b"]), (["x"], ["x", "a", "b"]), (["b", "x"], ["b", "x", "a"])],
)
def test_the_secrets_to_pull_with_are_added_to_the_pods_own(own: list[str] | None, after: list[str]) -> None:
    spec: JSONObject = {} if own is None else {"imagePullSecrets": [{"name": name} for name in own]}
    result = injected(pod(**spec), configured(pull_secrets=("a", "b")))
    assert [one["name"] for one in result["spec"]["imagePullSecrets"]] == after
    assert injected(result, configured(pull_secrets=("a", "b"))) == result


def test_local_storage_is_stated_where_it_is_asked_for() -> None:
    assert "ephemeral-storage" not in agent(injected(pod()))["resources"]["requests"]
    subject = pod(annotations={"vanadium.io/ephemeral-storage-request": "16Mi"})
    limited = configured(resources=Resources(ephemeral_storage_limit="64Mi"))
    resources = agent(injected(subject, limited))["resources"]
    assert resources["requests"]["ephemeral-storage"] == "16Mi"
    assert resources["limits"]["ephemeral-storage"] == "64Mi"


def test_the_user_is_ours_another_or_left_to_the_cluster() -> None:
    assert agent(injected(pod()))["securityContext"]["runAsUser"] == 58193
    context = agent(injected(pod(), configured(user=20000)))["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (20000, 20000)
    context = agent(injected(pod(), configured(user=None)))["securityContext"]
    assert not {"runAsUser", "runAsGroup"} & set(context)
    assert context["runAsNonRoot"] is True


@pytest.mark.parametrize(
    "resources", [{"limits": LIMITS}, {"limits": LIMITS, "requests": {"cpu": "1000m", "memory": "1024Mi"}}]
)
def test_a_guaranteed_pod_stays_guaranteed(resources: JSONObject) -> None:
    subject = pod(container(resources=resources), container("b", resources={"limits": LIMITS}))
    ours = agent(injected(subject))["resources"]
    assert ours["requests"] == ours["limits"]


@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"limits": {"cpu": "1"}},
        {"limits": LIMITS, "requests": {"cpu": "500m"}},
        {"limits": {"cpu": "0", "memory": "1Gi"}},
    ],
)
def test_a_pod_that_is_not_guaranteed_requests_no_more_for_us(resources: JSONObject) -> None:
    subject = pod(container(resources={"limits": LIMITS}), container("b", resources=resources))
    assert agent(injected(subject))["resources"]["requests"]["cpu"] == Resources().cpu_request


def test_a_users_variable_may_contain_ours_and_keeps_its_place_among_theirs() -> None:
    own = [{"name": "A", "value": "$(SPIFFE_ENDPOINT_SOCKET)"}, {"name": "B", "value": "$(A)"}]
    env = injected(pod(container(env=own)))["spec"]["containers"][0]["env"]
    # Kubernetes expands a reference only to a variable that stands before it.
    assert [one["name"] for one in env] == ["V23_AGENT_PATH", "SPIFFE_ENDPOINT_SOCKET", "A", "B"]
